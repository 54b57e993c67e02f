# SPDX-License-Identifier: Apache-2.0
"""Two nodes in one role are named; one that replaces a dead one is not a rival."""

from rove_contract.claim import Claim


def test_two_nodes_that_speak_in_turn_are_both_named_until_one_is_silent():
    claim = Claim("supervisor", 0.5)
    claim.hear("/supervisor@a:1", 0.0)
    assert claim.rivals(0.0) == ""
    claim.hear("/supervisor@b:2", 0.1)
    assert claim.rivals(0.1) == "2 nodes claim to be the supervisor: /supervisor@a:1 and /supervisor@b:2"
    claim.hear("/supervisor@b:2", 0.55)
    assert claim.rivals(0.55) == ""


def test_a_node_that_replaces_a_killed_one_is_no_rival():
    claim = Claim("teleop", 0.5)
    for k in range(50):
        claim.hear("/teleop@a:1", k * 0.016)
    claim.hear("/teleop@a:2", 2.0)
    assert claim.rivals(2.0) == "" and claim.is_live("/teleop@a:2", 2.1) and not claim.is_live("/teleop@a:1", 2.0)


def test_a_node_without_an_id_is_told_apart_from_one_with_an_id():
    claim = Claim("policy", 2.0)
    claim.hear("", 0.0)
    claim.hear("/policy@a:1", 0.1)
    assert "a node without a name" in claim.rivals(0.1)
