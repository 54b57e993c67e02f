# SPDX-License-Identifier: Apache-2.0
"""Angles at which the nodes decide; rad. Of a joint that slides, lengths that count as much, see
`rove_description.joints.METRES_PER_RAD`. Rates and time-outs are in `timing`.
"""

# A takeover is refused while a joint of the operator is farther than this from the robot, unless forced. The pages
# colour the operator's hands by it.
TAKEOVER_RAD = 0.35
# In IDLE a robot farther than this from the command was moved by a reset or by hand; sag under gravity is hundredths of
# a radian. The command filter then takes the measured pose.
RESEAT_RAD = 0.2
# After its reset the simulated robot ignores the old pose that the filter still holds, until the filter has re-seated:
# what it does not re-seat for must count as seated, with a margin for the sag.
SEATED_RAD = RESEAT_RAD + 0.05
