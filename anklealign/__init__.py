__version__ = "0.1.0"

import os

os.environ['ORT_DISABLE_TELEMETRY'] = '1' # from version 1.29 on, onnxruntime reports to its maker as soon as it is imported, unless told before
