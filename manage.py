#!/usr/bin/env python3
from __future__ import annotations

import os
import sys

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "voicecloud.settings")
from django.core.management import execute_from_command_line

execute_from_command_line(sys.argv)
