# SPDX-License-Identifier: Apache-2.0
"""The command filter: everything between a source of joint targets and /joint_command. No aiohttp, zmq, cryptography or
torch here.
"""

from rove_teleop.command_filter.filter import CommandFilter

__all__ = ["CommandFilter"]
