from inference import *
