"""The CloudFormation template: clean to the linter, created whole in a mock of AWS, and as closed as it says."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import yaml

from mtl.settings import ROOT, Settings

TEMPLATE = ROOT / "assets" / "deploy" / "aws" / "mtl.yaml"
ZONE = "us-east-1"


class Loader(yaml.SafeLoader):
    """Reads `!Ref x` as {"Ref": x}."""


def _short(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> object:
    if isinstance(node, yaml.ScalarNode):
        return {suffix: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {suffix: loader.construct_sequence(node, deep=True)}
    return {suffix: loader.construct_mapping(node, deep=True)}


Loader.add_multi_constructor("!", _short)


@pytest.fixture(scope="module")
def resources() -> dict[str, dict]:
    return yaml.load(TEMPLATE.read_text(encoding="utf-8"), Loader)["Resources"]


def test_the_linter_has_nothing_to_say() -> None:
    api = pytest.importorskip("cfnlint.api", reason="the template is checked by cfn-lint: pip install cfn-lint")
    found = api.lint_all(TEMPLATE.read_text(encoding="utf-8"))
    assert [str(match) for match in found if match.rule.id[0] in "EW"] == []


@pytest.mark.parametrize("broken", ['Cpu: "300"', "Memory: 512"])
def test_the_linter_would_see_a_size_that_fargate_does_not_have(broken: str) -> None:
    api = pytest.importorskip("cfnlint.api", reason="the template is checked by cfn-lint: pip install cfn-lint")
    text = TEMPLATE.read_text(encoding="utf-8")
    text = text.replace("Cpu: !Ref TaskCpu", 'Cpu: "2048"').replace("Memory: !Ref TaskMemory", 'Memory: "8192"')
    name = broken.partition(":")[0]
    worse = "\n".join(f"      {broken}" if line.startswith(f"      {name}: ") else line for line in text.split("\n"))
    assert worse != text
    assert [match for match in api.lint_all(worse) if match.rule.id.startswith("E")]


@pytest.fixture
def mock(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    moto = pytest.importorskip("moto", reason="the stack is created in moto: pip install 'moto[cloudformation,ecs]'")
    boto3 = pytest.importorskip("boto3", reason="the stack is created in moto: pip install 'moto[cloudformation,ecs]'")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with moto.mock_aws():
        yield lambda name: boto3.client(name, region_name=ZONE)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("password", ["no", "yes"])
def test_the_stack_comes_up_whole(mock: object, password: str, resources: dict[str, dict]) -> None:
    cloud = mock("cloudformation")
    certificate = mock("acm").request_certificate(DomainName="mtl.example.com")["CertificateArn"]
    chosen = {"CertificateArn": certificate, "AskForPassword": password, "AlarmEmail": "ops@example.com"}
    parameters = [{"ParameterKey": name, "ParameterValue": value} for name, value in chosen.items()]
    text = TEMPLATE.read_text(encoding="utf-8")
    cloud.create_stack(
        StackName="mtl", TemplateBody=text, Parameters=parameters, Capabilities=["CAPABILITY_IAM"], DisableRollback=True
    )
    (stack,) = cloud.describe_stacks(StackName="mtl")["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    listed = cloud.describe_stack_resources(StackName="mtl")["StackResources"]
    wanted = {name for name in resources if password == "yes" or name != "PagePassword"}
    forgotten = ("SecretsManager", "CloudWatch", "ApplicationAutoScaling", "SNS::Subscription", "MetricFilter")
    nameless = {n for n, one in resources.items() if any(kind in one["Type"] for kind in forgotten)}  # by moto
    missing = wanted - nameless - {one.get("LogicalResourceId") for one in listed}
    assert missing == set()
    ecs = mock("ecs")
    (family,) = ecs.list_task_definitions()["taskDefinitionArns"]
    task = ecs.describe_task_definition(taskDefinition=family)["taskDefinition"]
    (container,) = task["containerDefinitions"]
    assert container["image"] == f"123456789012.dkr.ecr.{ZONE}.amazonaws.com/mtl:latest"
    secrets = {one["name"] for one in container["secrets"] if one}  # moto leaves a hole
    assert secrets == {"MTL_API_KEY"} | ({"MTL_PAGE_PASSWORD"} if password == "yes" else set())


def test_the_container_is_closed_and_its_settings_are_ours(resources: dict[str, dict]) -> None:
    (container,) = resources["Task"]["Properties"]["ContainerDefinitions"]
    assert container["ReadonlyRootFilesystem"] is True
    assert container["User"] == "1000"
    assert container["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}
    named = [one["Name"] for one in container["Environment"]]
    named += [one["Name"] for one in container["Secrets"] if "Name" in one]
    known = {f"MTL_{name.upper()}" for name in Settings.__dataclass_fields__}
    assert set(named) <= known
    assert resources["Targets"]["Properties"]["HealthCheckPath"] == "/api/readyz"


def test_nobody_comes_in_but_through_the_balancer_and_no_route_leads_out(resources: dict[str, dict]) -> None:
    entries = resources["TaskGroup"]["Properties"]["SecurityGroupIngress"]
    assert [one["SourceSecurityGroupId"] for one in entries] == [{"Ref": "BalancerGroup"}]
    routes = [one["Properties"] for one in resources.values() if one["Type"] == "AWS::EC2::Route"]
    assert [one["RouteTableId"] for one in routes] == [{"Ref": "PublicRoutes"}]
    network = resources["Service"]["Properties"]["NetworkConfiguration"]["AwsvpcConfiguration"]
    assert network["AssignPublicIp"] == "DISABLED"
    assert network["Subnets"] == [{"Ref": "PrivateOne"}, {"Ref": "PrivateTwo"}]
    assert "TaskRoleArn" not in resources["Task"]["Properties"]


def test_the_only_role_may_do_four_things_and_only_one_of_them_everywhere(resources: dict[str, dict]) -> None:
    (policy,) = resources["StartRole"]["Properties"]["Policies"]
    statements = policy["PolicyDocument"]["Statement"]
    assert [one["Action"] for one in statements if one["Resource"] == "*"] == ["ecr:GetAuthorizationToken"]
    assert "*" not in json.dumps([one["Action"] for one in statements])


def test_a_deployment_that_fails_goes_back(resources: dict[str, dict]) -> None:
    deployment = resources["Service"]["Properties"]["DeploymentConfiguration"]
    assert deployment["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}
    assert deployment["MinimumHealthyPercent"] == 100
    assert deployment["Alarms"]["Rollback"] is True
