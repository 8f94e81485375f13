"""Ten thousand requests that nobody should send: none breaks the server, and none comes back to others."""

import json
import random
import socket
import struct
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import batched
from pathlib import Path
from typing import Final

import psutil
import pytest

from tests.serving.hostile_bodies import MARKER, make_bodies
from tests.serving.raw_http import connect, post, send_in_a_row, talk
from tests.serving.scoring_servers import (
    Reply,
    ServeModel,
    copy_template,
    log_version,
    serve_model,
    set_alias,
    wait_until,
)
