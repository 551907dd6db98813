"""`openledger datanet create, show, list, update`: what a datanet is, in the words of its owner."""

from __future__ import annotations

import re
import uuid
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from google.protobuf.field_mask_pb2 import FieldMask

from openledger.cli.connection import Json, dump, run
from openledger.datanet.v1 import datanet_pb2 as pb

_FIELD = re.compile(r"(?P<id>[^!=]+)(?P<required>!?)(=(?P<description>.*))?\Z", re.DOTALL)

Name = Annotated[str, typer.Argument(metavar="DATANET", help="Its id, or datanets/<id>.")]
Visible = Literal["public", "by-request", "private"]
DisplayName = Annotated[str | None, typer.Option("--name", help="What people call it.")]
Licence = Annotated[str | None, typer.Option("--licence", help="SPDX expression, such as CC-BY-4.0.")]
Notice = Annotated[str | None, typer.Option("--notice", help="Where the licence is, and who must be acknowledged how.")]
Description = Annotated[Path | None, typer.Option("--description", help="A Markdown file.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="Can be given more than once.")]
Fields = Annotated[
    list[str] | None,
    typer.Option("--field", help="term, term! when it is required, term!='What it is.'; can be given more than once."),
]
Visibility = Annotated[
    Visible | None,
    typer.Option("--visibility", help="Who may give: everybody, whom you let in, whom you invite."),
]
MinChars = Annotated[int | None, typer.Option("--min-chars", min=0, help="Of a record's texts together; 0: no bound.")]
Language = Annotated[
    list[str] | None,
    typer.Option("--language", help="BCP 47; records in others are refused.  Can be given more than once; any: all."),
]
PersonalData = Annotated[
    Literal["ignore", "mask", "ask", "refuse"] | None,
    typer.Option("--personal-data", help="Where it is found: taken unseen, to be masked, asked about, refused."),
]
Quality = Annotated[
    bool | None, typer.Option("--quality/--no-quality", help="Refuse what repeats itself or is no text.")
]
MaxChars = Annotated[int | None, typer.Option("--max-chars", min=0, help="Of a record's texts together; 0: no bound.")]


def create(
    context: typer.Context,
    datanet_id: Annotated[str, typer.Argument(help="3 to 63 of a-z, 0-9 and inner '-', a letter first.")],
    name: DisplayName = None,
    licence: Licence = None,
    notice: Notice = None,
    description: Description = None,
    tag: Tags = None,
    field: Fields = None,
    visibility: Visibility = None,
    min_chars: MinChars = None,
    max_chars: MaxChars = None,
    language: Language = None,
    personal_data: PersonalData = None,
    quality: Quality = None,
    as_json: Json = False,
) -> None:
    """Open a datanet.  You own it: you say who is let in, and cut its snapshots.

    Example: openledger datanet create rare-terms --name "Rare terms" --licence CC-BY-4.0 --field term! --field text!
    """
    if licence is None:
        raise typer.BadParameter("say under which licence records are given: --licence CC-BY-4.0")

    async def work() -> Any:
        said, _ = _said(name or datanet_id, licence, notice, description, tag, field, visibility)
        _rule(said.policy, _policy(min_chars, max_chars, language, personal_data, quality))
        request = pb.CreateDatanetRequest(datanet=said, datanet_id=datanet_id, request_id=str(uuid.uuid4()))
        async with context.obj.client() as client:
            return await client.call(client.datanet.CreateDatanet, request)

    _show(run(work), as_json=as_json)


def show(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Show a datanet.

    Example: openledger datanet show rare-terms
    """

    async def work() -> Any:
        async with context.obj.client() as client:
            return await client.call(client.datanet.GetDatanet, pb.GetDatanetRequest(name=full_name(name)))

    _show(run(work), as_json=as_json)


def list_(
    context: typer.Context,
    words: Annotated[list[str] | None, typer.Argument(help="Only those with all of these words.")] = None,
    tag: Tags = None,
    mine: Annotated[bool, typer.Option("--mine", help="Only those that you have to do with.")] = False,
    as_json: Json = False,
) -> None:
    """List datanets, newest first.

    Example: openledger datanet list rare --tag medicine
    """

    async def work() -> Any:
        found = pb.ListDatanetsResponse()
        async with context.obj.client() as client:
            while True:
                request = pb.ListDatanetsRequest(
                    page_size=1000, page_token=found.next_page_token, filter=" ".join(words or ()), tags=tag, mine=mine
                )
                page = await client.call(client.datanet.ListDatanets, request)
                found.datanets.extend(page.datanets)
                found.next_page_token = page.next_page_token
                if not page.next_page_token:
                    return found

    found = run(work)
    if as_json:
        dump(found)
        return
    for datanet in found.datanets:
        typer.echo(_line(datanet))


def update(
    context: typer.Context,
    datanet: Name,
    name: DisplayName = None,
    licence: Licence = None,
    notice: Notice = None,
    description: Description = None,
    tag: Tags = None,
    field: Fields = None,
    visibility: Visibility = None,
    min_chars: MinChars = None,
    max_chars: MaxChars = None,
    language: Language = None,
    personal_data: PersonalData = None,
    quality: Quality = None,
    as_json: Json = False,
) -> None:
    """Change what you say about a datanet of yours: only what is given here.  Licence and fields while it is empty.

    Example: openledger datanet update rare-terms --visibility by-request
    """

    async def work() -> Any:
        async with context.obj.client() as client:
            said = await client.call(client.datanet.GetDatanet, pb.GetDatanetRequest(name=full_name(datanet)))
            given, mask = _said(name, licence, notice, description, tag, field, visibility)
            for path in mask:
                said.ClearField(path)
            said.MergeFrom(given)
            rules = _policy(min_chars, max_chars, language, personal_data, quality)
            _rule(said.policy, rules)
            mask += ["policy"] if rules else []
            request = pb.UpdateDatanetRequest(
                datanet=said, update_mask=FieldMask(paths=mask), request_id=str(uuid.uuid4())
            )
            return await client.call(client.datanet.UpdateDatanet, request)

    _show(run(work), as_json=as_json)


def full_name(name: str) -> str:
    """`datanets/{datanet}` for that or the id alone."""
    return name if name.startswith("datanets/") else f"datanets/{name}"


def _said(
    name: str | None,
    licence: str | None,
    notice: str | None,
    description: Path | None,
    tags: list[str] | None,
    fields: list[str] | None,
    visibility: str | None,
) -> tuple[pb.Datanet, list[str]]:
    """What was said, and of which fields.  Raises `ValueError`, `OSError`."""
    texts = {
        "display_name": name,
        "licence": licence,
        "licence_notice": notice,
        "description": description.read_text(encoding="utf-8") if description else None,
    }
    given: dict[str, Any] = {field: text for field, text in texts.items() if text is not None}
    if tags is not None:
        given["tags"] = tags
    if fields is not None:
        given["fields"] = [_field(text) for text in fields]
    if visibility is not None:
        given["visibility"] = pb.Visibility.Value("VISIBILITY_" + visibility.replace("-", "_").upper())
    return pb.Datanet(**given), sorted(given)


def _policy(
    min_chars: int | None,
    max_chars: int | None,
    languages: list[str] | None,
    personal_data: str | None,
    quality: bool | None,
) -> dict[str, Any]:
    """The rules that were said, by field; a zero is said as well."""
    kind = "UNSPECIFIED" if personal_data == "ignore" else (personal_data or "").upper()
    said = {
        "min_chars": min_chars,
        "max_chars": max_chars,
        "languages": [] if languages == ["any"] else languages,
        "personal_data": kind and pb.PersonalDataPolicy.Value(f"PERSONAL_DATA_POLICY_{kind}"),
        "quality": quality,
    }
    return {field: value for field, value in said.items() if value is not None and value != ""}


def _rule(policy: pb.Policy, rules: dict[str, Any]) -> None:
    for field, value in rules.items():
        policy.ClearField(field)  # type: ignore[arg-type]  # one of its fields
        policy.MergeFrom(pb.Policy(**{field: value}))


def _field(text: str) -> pb.Field:
    found = _FIELD.match(text)
    if found is None:
        raise ValueError(f"--field {text!r} must be an id, such as term, term! or term!='What it is.'")
    return pb.Field(id=found["id"], required=bool(found["required"]), description=found["description"] or "")


def _show(datanet: pb.Datanet, *, as_json: bool) -> None:
    if as_json:
        dump(datanet)
        return
    typer.echo(_line(datanet))
    typer.echo(f"  owner {datanet.owner}")
    fields = ", ".join(field.id + ("!" if field.required else "") for field in datanet.fields)
    typer.echo(f"  fields {fields}")
    if datanet.tags:
        typer.echo(f"  tags {', '.join(datanet.tags)}")
    if datanet.licence_notice:
        typer.echo(f"  {datanet.licence_notice}")


def _line(datanet: pb.Datanet) -> str:
    visibility = pb.Visibility.Name(datanet.visibility).removeprefix("VISIBILITY_").lower().replace("_", "-")
    counts = f"{datanet.record_count} records of {datanet.contributor_count} contributors"
    return f"{datanet.name}  {datanet.display_name}  {datanet.licence}, {visibility}, {counts}"
