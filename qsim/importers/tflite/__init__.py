"""TensorFlow Lite flatbuffers -> Graph, without TensorFlow.

``load_tflite`` imports a model; ``survey`` says beforehand, operator by operator, what can be imported.
"""

from qsim.importers.tflite.load import SurveyEntry, load_tflite, survey
from qsim.importers.tflite.profiles import PROFILES, Profile, get_profile

__all__ = ["PROFILES", "Profile", "SurveyEntry", "get_profile", "load_tflite", "survey"]
