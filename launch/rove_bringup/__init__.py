# SPDX-License-Identifier: Apache-2.0
"""Launch files, node parameters, and the `rove` runner: `rove launch`, `rove run`, `rove demo`."""
