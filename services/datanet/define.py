"""The verb "define": what a datanet's owner may say about it, and change later."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace

from license_expression import ExpressionError, ExpressionParseError, get_spdx_licensing

from services.datanet.model import Datanet, Definition, Field, Policy, Visibility
from services.datanet.offers import OFFERED, check_offered
from services.datanet.text import control_character, direction_character
from services.kit.errors import aborted, invalid, precondition

CHANGEABLE = ("display_name", "description", "tags", "licence_notice", "policy", "visibility")
CHANGEABLE_WHILE_EMPTY = ("licence", "fields")
_DEFAULT_FIELDS = (Field("text", "The text.", required=True),)
_FIELD_ID = re.compile(r"[a-z][a-z0-9_]{0,62}\Z")
_LICENSE_REF = re.compile(r"(DocumentRef-[A-Za-z0-9.-]+:)?LicenseRef-[A-Za-z0-9.-]+\Z")
# BCP 47, as far as its form goes.
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}\Z")
_MAX_TAG = 63
_SPDX = get_spdx_licensing()


def checked(definition: Definition, offered: Collection[str] = OFFERED) -> Definition:
    """The definition in normal form: SPDX ids in their official spelling, the default field filled in.

    Raises `Fault` that names the field that cannot stand, or asks for what is not `offered`.
    """
    texts = {
        "display_name": definition.display_name,
        "description": definition.description,
        "licence_notice": definition.licence_notice,
    }
    for field, text in texts.items():
        _printable(text, field)
    _one_way(definition.display_name, "display_name")
    if not definition.display_name.strip():
        raise invalid("INVALID_FIELD", "datanet.display_name: must not be blank", "datanet.display_name")
    _check_tags(definition.tags)
    fields = definition.fields or _DEFAULT_FIELDS
    _check_fields(fields)
    _check_policy(definition.policy)
    check_offered(definition, offered)
    return replace(definition, licence=spdx(definition.licence), fields=fields)


def revised(datanet: Datanet, draft: Definition, mask: Sequence[str], etag: str, given: int = 0) -> Definition:
    """The definition after the masked fields of `draft` are taken over.  given: records that it ever had.

    Raises `Fault` when the owner saw an older one, when a field cannot be changed (any more), or as `checked` does.
    """
    if etag and etag != datanet.etag:
        raise aborted(
            "ETAG_MISMATCH",
            f"{datanet.name} was changed meanwhile: it is at etag {datanet.etag}, not {etag}. Read it again, then "
            "apply your change to what it says now",
            etag=datanet.etag,
        )
    if not mask:
        raise invalid("INVALID_FIELD", "update_mask: must name what to change", "update_mask")
    given = max(given, datanet.record_count)
    for path in mask:
        if path not in (*CHANGEABLE, *CHANGEABLE_WHILE_EMPTY):
            allowed = ", ".join((*CHANGEABLE, *CHANGEABLE_WHILE_EMPTY))
            raise invalid(
                "NOT_CHANGEABLE", f"update_mask: {path[:100]!r} cannot be changed; these can: {allowed}", "update_mask"
            )
        if path in CHANGEABLE_WHILE_EMPTY and given:
            raise precondition(
                "RECORDS_DEPEND_ON_IT",
                f"the {path} of {datanet.name} cannot change: {given} records were given under it. "
                "Open another datanet for other terms",
            )
        if path == "visibility" and given:
            _check_opening(datanet, draft.visibility, given)
    return checked(replace(datanet.definition, **{path: getattr(draft, path) for path in mask}))


def spdx(expression: str) -> str:
    """An SPDX licence expression in its official spelling; `LicenseRef-...` stands for terms that SPDX does not list.

    Raises `Fault` for what is none.
    """
    try:
        parsed = _SPDX.parse(expression, strict=True) if control_character(expression) is None else None
    except (ExpressionError, ExpressionParseError) as error:
        raise _not_a_licence(expression, str(error)) from None
    if parsed is None:
        raise _not_a_licence(expression, "it is empty or has control characters")
    unknown = [key for key in _SPDX.unknown_license_keys(parsed) if not _LICENSE_REF.match(key)]
    if unknown:
        raise _not_a_licence(expression, f"SPDX does not list {', '.join(unknown)}")
    return str(parsed.render())


def _not_a_licence(expression: str, why: str) -> Exception:
    return invalid(
        "NOT_A_LICENCE",
        f"{expression[:100]!r} is not an SPDX licence expression: {why}. Take one of https://spdx.org/licenses, such "
        "as CC-BY-4.0, or LicenseRef-<your name for it> and its text in licence_notice",
        "datanet.licence",
    )


def _check_opening(datanet: Datanet, visibility: Visibility, given: int) -> None:
    if visibility is not Visibility.PRIVATE and datanet.definition.visibility is Visibility.PRIVATE:
        raise precondition(
            "RECORDS_DEPEND_ON_IT",
            f"{datanet.name} stays private: {given} records were given to it as that. Open another "
            "datanet for everybody",
        )


def _check_tags(tags: Sequence[str]) -> None:
    for tag in tags:
        _printable(tag, "tags")
        _one_way(tag, "tags")
        if not tag.strip() or len(tag) > _MAX_TAG:
            raise invalid("INVALID_FIELD", f"datanet.tags: a tag has 1 to {_MAX_TAG} characters", "datanet.tags")
    if len(set(tags)) != len(tags):
        raise invalid("INVALID_FIELD", "datanet.tags: a tag stands there twice", "datanet.tags")


def _check_fields(fields: Sequence[Field]) -> None:
    for field in fields:
        _printable(field.description, "fields")
        if not _FIELD_ID.match(field.id):
            raise invalid(
                "INVALID_FIELD",
                f"datanet.fields: {field.id[:63]!r} is not a field id: lower-case letters, digits and underscores, "
                "a letter first",
                "datanet.fields",
            )
    if len({field.id for field in fields}) != len(fields):
        raise invalid("INVALID_FIELD", "datanet.fields: two fields have the same id", "datanet.fields")


def _check_policy(policy: Policy) -> None:
    if policy.max_chars and policy.min_chars > policy.max_chars:
        raise invalid(
            "INVALID_FIELD", "datanet.policy: min_chars is above max_chars, so no record could pass", "datanet.policy"
        )
    for tag in policy.languages:
        if not _LANGUAGE.match(tag):
            raise invalid(
                "INVALID_FIELD",
                f"datanet.policy.languages: {tag[:63]!r} is no BCP 47 tag, such as de or pt-BR",
                "datanet.policy.languages",
            )
    if policy.reviewers and policy.reviewers < policy.reviews:
        raise invalid(
            "INVALID_FIELD",
            f"datanet.policy.reviewers: of {policy.reviewers} reviewers, {policy.reviews} can never agree",
            "datanet.policy.reviewers",
        )


def _printable(text: str, field: str) -> None:
    found = control_character(text)
    if found is not None:
        raise invalid("INVALID_FIELD", f"datanet.{field}: has the control character {found}", f"datanet.{field}")


def _one_way(text: str, field: str) -> None:
    found = direction_character(text)
    if found is not None:
        raise invalid(
            "INVALID_FIELD",
            f"datanet.{field}: has {found}, which makes a text look like another one",
            f"datanet.{field}",
        )
