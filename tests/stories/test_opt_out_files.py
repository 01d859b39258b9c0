"""The suppression list as a file, and the ledger behind it."""

from __future__ import annotations

from tests.stories.conftest import Reply, Story

HEADER = "channel,address,contact,category,reason"


async def bring_in(story: Story, text: str | bytes, **headers: str) -> Reply:
    data = text.encode() if isinstance(text, str) else text
    return await story.call("POST", "/v1/opt-outs/import", headers={"Content-Type": "text/csv", **headers}, data=data)


async def test_good_rows_go_in_and_each_bad_one_is_told_once(story: Story) -> None:
    await story.contacts(2)
    rows = [
        HEADER,
        "email,Gone@Example.org,,,letter",
        "email,gone@example.org,,,again",
        "email,,m-2,newsletter,",
        "email,,nobody,,",
        "pigeon,loft 17,,,",
        "email,no address,,,",
        "email,a@example.org,m-1,,",
        "email,,,,",
        "short,row",
        f"email,{'x' * 600}@example.org,,,",
        'email,"quoted@example.org",,,"a, b"',
        "email,b@example.org,,two words,",
    ]
    answer = await bring_in(story, "\n".join(rows))
    report = answer.json
    assert (answer.status, report["recorded"], report["standing"], report["rejected"]) == (200, 3, 1, 8)
    assert [error["line"] for error in report["errors"]] == [5, 6, 7, 8, 9, 10, 11, 13]
    assert "no contact 'nobody'" in report["errors"][0]["detail"]
    assert "no channel 'pigeon'" in report["errors"][1]["detail"]
    listed = await story.everything("/v1/opt-outs")
    assert {(one["address"] or one["contact_id"], one["category"], one["source"]) for one in listed} == {
        ("Gone@example.org", "all", "import"),
        ("m-2", "newsletter", "import"),
        ("quoted@example.org", "all", "import"),
    }
    mails = await story.mail_all(category="newsletter")
    assert (await story.people(mails))["m-2"]["code"] == "opted_out"


async def test_what_was_exported_can_be_imported(story: Story) -> None:
    await story.contacts(1)
    await bring_in(story, f"{HEADER}\nemail,a@example.org,,,=cmd()\nemail,,m-1,,\n")
    exported = await story.call("GET", "/v1/opt-outs/export")
    assert exported.headers["Content-Type"].startswith("text/csv")
    assert b"'=cmd()" in exported.raw, "a spreadsheet must not run it"
    for one in await story.everything("/v1/opt-outs"):
        assert (await story.call("DELETE", f"/v1/opt-outs/{one['id']}", {"reason": "test"})).status == 204
    again = await bring_in(story, exported.raw)
    assert (again.json["recorded"], again.json["rejected"]) == (2, 0)
    reasons = {one["reason"] for one in await story.everything("/v1/opt-outs")}
    assert reasons == {"=cmd()", None}


async def test_a_file_without_a_usable_header_changes_nothing(story: Story) -> None:
    for text in ("", "email,a@example.org\n", "channel,reason\nemail,x\n", "channel,address,address\nemail,a@b.c,d\n"):
        answer = await bring_in(story, text)
        assert (answer.status, answer.code) == (422, "invalid"), text
    answer = await bring_in(story, HEADER, **{"Content-Type": "text/csv; charset=latin-1"})
    assert answer.status == 415
    assert await story.everything("/v1/opt-outs") == []


async def test_bytes_that_are_no_text_spoil_their_own_line_only(story: Story) -> None:
    lines = [
        HEADER.encode(),
        b"email,a@example.org,,,\xff\xfe",
        b"email,b\x00@example.org,,,",
        b"email,c@example.org,,,ok",
    ]
    report = (await bring_in(story, b"\r\n".join(lines))).json
    assert (report["recorded"], [error["line"] for error in report["errors"]]) == (1, [2, 3])


async def test_the_ledger_keeps_every_wish_and_what_proves_it(story: Story) -> None:
    await story.contacts(1)
    made = await story.post("/v1/opt-outs", {"channel": "email", "contact": "m-1", "reason": "by telephone"}, 201)
    await story.call("DELETE", f"/v1/opt-outs/{made['id']}", {"reason": "changed her mind"})
    first = await story.get("/v1/opt-outs/history?limit=1")
    (out,) = first["items"]
    assert (out["wish"], out["contact_id"], out["source"], out["reason"]) == ("out", "m-1", "api", "by telephone")
    assert out["by"].startswith("gwk_")
    rest = await story.get(f"/v1/opt-outs/history?after={first['last_seq']}")
    assert [(one["wish"], one["reason"]) for one in rest["items"]] == [("in", "changed her mind")]
    assert (await story.get(f"/v1/opt-outs/history?after={rest['last_seq']}"))["items"] == []


async def test_importing_takes_a_permission_of_its_own(story: Story) -> None:
    token = await story.key("messaging.send", "messaging.read")
    answer = await story.call(
        "POST", "/v1/opt-outs/import", headers={"Content-Type": "text/csv"}, data=HEADER.encode(), token=token
    )
    assert (answer.status, answer.json["missing"]) == (403, ["optouts.edit"])
