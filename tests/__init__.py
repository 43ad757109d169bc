"""What every test runs in: no home directory, no proxy, a made-up token that must show up nowhere.

huggingface_hub and transformers read the environment when they are imported, and this is imported before any of them.
"""

import atexit
import os
import shutil
import tempfile

CANARY = "hf_canaryCanaryCanaryCanaryCanary12"

for _name in (
    "HF_HUB_OFFLINE",
    "TRANSFORMERS_OFFLINE",
    "HF_ENDPOINT",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "http_proxy",
    "https_proxy",
):
    os.environ.pop(_name, None)
# The home directory is an empty folder, and so is every cache that would lie in it.
HOME = tempfile.mkdtemp(prefix="hubpush-tests-home-")
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
os.environ |= {
    "HOME": HOME,
    "USERPROFILE": HOME,
    "XDG_CACHE_HOME": f"{HOME}/cache",
    "HF_HOME": f"{HOME}/hf",
    "HF_TOKEN": CANARY,
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "",
    "NO_COLOR": "1",
}
