"""Rows of run-length tables, whatever their columns, their images and their text are called and written."""

import pytest

from maskzoo.data.labels.run_rows import RunRow, read_rows


@pytest.mark.parametrize(
    "head", ["img,rle_mask", "Image Id,Encoded Pixels", "id,RLE", "ImageId,EncodedPixels", "image-id,encoded_pixels"]
)
def test_signs_between_the_words_of_a_header_make_no_difference(tmp_path, head):
    path = tmp_path / "t.csv"
    path.write_text(f"{head}\na.png,1 2\n")
    assert list(read_rows(path)) == [RunRow("a", None, "1 2", None)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings(tmp_path, encoding):
    path = tmp_path / "t.csv"
    path.write_text("ImageId,EncodedPixels\r\nbär.png,1 2\r\n", encoding=encoding)
    assert [row.image for row in read_rows(path)] == ["bär"]


@pytest.mark.parametrize("name", ["a.png", "train/a.png", r"train\a.jpg", "a.GIF", r"C:\x y\a.webp", "a"])
def test_images_are_known_without_folder_and_suffix(tmp_path, name):
    path = tmp_path / "t.csv"
    path.write_text(f"ImageId,EncodedPixels\n{name},1 2\n")
    assert [row.image for row in read_rows(path)] == ["a"]


@pytest.mark.parametrize("columns", ["height,width", "img_height,img_width", "Height,Width"])
def test_tables_that_say_the_size_of_their_masks(tmp_path, columns):
    path = tmp_path / "t.csv"
    path.write_text(f"id,rle,{columns}\na,1 2,30,40\nb,1 2,,\n")
    assert [row.size for row in read_rows(path)] == [(30, 40), None]
