# SPDX-License-Identifier: Apache-2.0
"""What a launch file says is what is started, and what is wrong in it is named with its line."""

import pytest

from rove_bringup import launch_file, packages
from rove_bringup.launch_tree import LaunchError

pytestmark = pytest.mark.usefixtures("lab_package")


@pytest.fixture
def plan(tmp_path):
    """text of a launch file, arguments -> its processes."""

    def parse(text: str, **arguments: str):
        path = tmp_path / "test.launch.yaml"
        path.write_text(text)
        return launch_file.plan_processes(path, arguments)

    return parse


def ros_arguments(process) -> list[str]:
    """The command behind the first --ros-args."""
    command = list(process.command)
    return command[command.index("--ros-args") + 1 :]


def test_a_node_gets_its_name_and_parameters_in_order(plan, tmp_path):
    params = tmp_path / "params.yaml"
    params.write_text("/**: {ros__parameters: {gain: 1.0}}\n")
    [process] = plan(
        f"""
launch:
  - arg: {{name: rate, default: '20'}}
  - node:
      pkg: lab
      exec: echo
      name: ear
      param:
        - from: {params}
        - {{name: rate, value: $(var rate), type: int}}
        - {{name: label, value: $(var rate), type: str}}
        - {{name: fast, value: $(equals $(var rate) 20), type: bool}}
"""
    )
    assert process.name == "ear"
    assert ros_arguments(process) == ["-r", "__node:=ear", "--params-file", str(params)] + [
        "-p",
        "rate:=20",
        "-p",
        'label:="20"',
        "-p",
        "fast:=true",
    ]


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [("int", "5", "5"), ("float", "5", "5.0"), ("bool", "true", "true"), ("str", "", '""'), ("str", "é b", '"é b"')],
)
def test_a_parameter_has_the_declared_type(plan, kind, value, expected):
    param = f"{{name: p, value: $(var x), type: {kind}}}"
    text = f"launch: [{{arg: {{name: x}}}}, {{node: {{pkg: lab, exec: echo, name: e, param: [{param}]}}}}]"
    assert ros_arguments(plan(text, x=value)[0])[2:] == ["-p", f"p:={expected}"]


@pytest.mark.parametrize(("operator", "names"), [("scripted", ["a", "b"]), ("zmq", ["b", "c"])])
def test_conditions_choose_what_is_started(plan, operator, names):
    text = """
launch:
  - arg: {name: operator}
  - node: {pkg: lab, exec: echo, name: a, if: "$(equals $(var operator) scripted)"}
  - node: {pkg: lab, exec: echo, name: b, unless: "$(equals $(var operator) none)"}
  - node: {pkg: lab, exec: echo, name: c, if: "$(eval \\"'$(var operator)' in ['zmq']\\")"}
"""
    assert [p.name for p in plan(text, operator=operator)] == names


def test_set_env_holds_for_the_nodes_after_it(plan, monkeypatch):
    monkeypatch.delenv("COLOUR", raising=False)
    first, second = plan("""
launch:
  - node: {pkg: lab, exec: echo, name: a}
  - set_env: {name: COLOUR, value: $(env COLOUR_NOT_SET blue)}
  - node: {pkg: lab, exec: echo, name: b}
""")
    assert "COLOUR" not in first.environment and second.environment["COLOUR"] == "blue"


def test_required_and_respawn_are_read(plan):
    required, respawned = plan("""
launch:
  - node: {pkg: lab, exec: echo, name: a, on_exit: shutdown}
  - node: {pkg: lab, exec: echo, name: b, respawn: 'true', respawn_delay: 0.5}
""")
    assert required.required and not required.respawn
    assert (respawned.respawn, respawned.respawn_delay_s) == (True, 0.5)


def test_two_nodes_of_one_name_are_refused(plan):
    with pytest.raises(LaunchError, match="2 nodes are named 'e'"):
        plan("launch: [{node: {pkg: lab, exec: echo, name: e}}, {node: {pkg: lab, exec: echo, name: e}}]")


NODE = "launch:\n  - node:\n      pkg: lab\n      exec: echo\n      name: e\n"


@pytest.mark.parametrize(
    ("line", "text", "message"),
    [
        (3, "launch:\n  - arg: {name: a, default: b}\n  - timer: {period: 1.0}\n", "unknown construct `timer`"),
        (
            2,
            "launch:\n  - group: [{node: {pkg: lab, exec: echo}}]\n",
            "unknown construct `group`; rove knows arg, node",
        ),
        (6, NODE + "      launch-prefix: gdb\n", "unknown attribute `launch-prefix`"),
        (4, NODE.replace("echo", "ecko"), "no executable 'ecko'; it has echo. Did you mean echo"),
        (3, NODE.replace("lab", "labb"), "unknown package 'labb'.*Did you mean lab"),
        (2, "launch:\n  - node:\n      pkg: lab\n", "needs the attribute `exec`"),
        (3, "launch:\n  - arg:\n      name: 5\n", "`name` of `arg` is 5, expected text"),
        (5, NODE.replace("name: e", "name: a $(vaar x)"), "unknown substitution"),
        (5, NODE.replace("name: e", "name: a $(var x)"), "no such argument"),
        (6, NODE + "      if: maybe\n", "neither true nor false"),
        (6, NODE + "      respawn: true\n", "`respawn` of `node` is True, expected text"),
        (6, NODE + "      respawn: 'false'\n", "the only value is `true`"),
        (2, NODE + "      respawn_delay: 1.0\n", "`respawn_delay` needs `respawn`"),
        (7, NODE + "      respawn: 'true'\n      respawn_delay: 1\n", "expected a number with a point"),
        (7, NODE + "      respawn: 'true'\n      respawn_delay: -1.0\n", "must not be negative"),
        (6, NODE + "      on_exit: restart\n", "the only value is `shutdown`"),
        (6, NODE + "      output: teletype\n", "the only value is `screen`"),
        (2, "launch:\n  - arg: {name: needed}\n", "must be given as needed:="),
        (2, NODE + "      if: 'true'\n      unless: 'true'\n", "exclude each other"),
        (6, NODE + "      param: [{from: /no.yaml}]\n", "file /no.yaml does not exist"),
        (6, NODE + "      param: [{from: /no.yaml, name: p}]\n", "unknown attribute `name` of `param`"),
        (6, NODE + "      param: [{name: p, value: $(env NO 1.5), type: int}]\n", "'1.5' is not of the type int"),
        (6, NODE + "      param: [{name: p, value: '5', type: int}]\n", "'5' is text and not of the type int"),
        (6, NODE + "      param: [{name: p, value: 'x'}]\n", "`param` needs the attribute `type`"),
        (6, NODE + "      param: [{name: p, value: 'x', type: yaml}]\n", "unknown parameter type 'yaml'"),
        (6, NODE + "      param: {name: p}\n", "must be a list of mappings"),
        (6, NODE + "      name: f\n", "`name` stands here twice"),
        (2, "launch:\n  - node: [1, 2]\n", "must be a mapping of attributes, got a list"),
        (2, "launch:\n  - node\n", "expected one construct"),
        (1, "launch: {node: {}}\n", "must hold a list of constructs, got a mapping"),
        (2, "launch:\n  - {: b\n", "not valid YAML"),
        (2, "launch:\n  - arg: !!python/name:os.system x\n", "not valid YAML: could not determine a constructor"),
        (1, "nodes: []\n", "has one root, `launch:`"),
        (1, "", "has one root, `launch:`"),
    ],
)
def test_an_error_names_the_line(plan, tmp_path, line, text, message):
    with pytest.raises(LaunchError, match=message) as caught:
        plan(text)
    assert str(caught.value).startswith(f"{tmp_path / 'test.launch.yaml'}:{line}: ")


def test_an_error_behind_a_false_condition_is_found(plan):
    with pytest.raises(LaunchError, match="unknown attribute"):
        plan("launch: [{node: {pkg: lab, exec: echo, name: e, if: 'false', colour: red}}]")


def test_an_undeclared_argument_is_refused_with_the_known_ones(plan):
    with pytest.raises(LaunchError, match="no argument `recrod` is declared; known: bags, record. Did you mean record"):
        plan("launch: [{arg: {name: record, default: 'true'}}, {arg: {name: bags, default: b}}]", recrod="false")


def test_a_value_outside_the_choices_is_refused(plan):
    with pytest.raises(LaunchError, match="`robot` is 'real', expected one of sim, external"):
        plan("launch: [{arg: {name: robot, default: sim, choice: [{value: sim}, {value: external}]}}]", robot="real")


def test_a_launch_file_is_found_in_its_package(lab_package):
    assert packages.launch_file("lab", "echo.launch.yaml") == lab_package / "share/lab/echo.launch.yaml"
    with pytest.raises(packages.PackageError, match="it has echo.launch.yaml"):
        packages.launch_file("lab", "ecko.launch.yaml")
