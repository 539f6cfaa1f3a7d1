"""`maskzoo train`: what it takes from the environment."""

from run_verb import run_and_capture


def test_hosts_are_taken_from_the_environment(capsys, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}')
    code, out, err = run_and_capture(capsys, "train")
    assert (code, out) == (2, "")
    assert err == "error: --run: expected a folder that all hosts can reach; received none\n"
