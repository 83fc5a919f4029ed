"""What a program does with the client that was generated from the API's document.

Arguments: the URL of the server. In the environment: API_TOKEN, and VALUE, which is saved.
"""

import os
import sys

from egret_api.api.clients import create_client
from egret_api.api.credentials import (
    add_version,
    create_credential,
    delete_credential,
    get_credential,
    list_credentials,
    revoke_credential,
    share_credential,
)
from egret_api.api.tokens import create_sandbox, mint_token
from egret_api.api.usage import list_lines
from egret_api.client import AuthenticatedClient
from egret_api.models import (
    ActionTokenInput,
    ClientInput,
    CredentialDetails,
    NewClient,
    NewCredentialInput,
    NewToken,
    Problem,
    Sandbox,
    SandboxInput,
    ShareInput,
    VersionInput,
)

url, value = sys.argv[1], os.environ["VALUE"]
client = AuthenticatedClient(base_url=url, token=os.environ["API_TOKEN"])
key = {"owner": "alice", "slug": "generated"}

new = NewCredentialInput(value=value, hosts=["api.example.test"], methods=["GET"])
made = create_credential.sync_detailed(**key, client=client, body=new, if_none_match="*")
assert isinstance(made.parsed, CredentialDetails), made
assert made.status_code == 201 and made.parsed.methods == ["GET"], made
again = create_credential.sync_detailed(**key, client=client, body=new, if_none_match="*")
assert isinstance(again.parsed, Problem) and again.parsed.code == "conflict", again

seen = get_credential.sync_detailed(**key, client=client)
tag = seen.headers["etag"]
next_value = VersionInput(value=value + "-2", rollback=True)
changed = add_version.sync_detailed(**key, client=client, body=next_value, if_match=tag)
assert changed.parsed.version == 2, changed
late = add_version.sync_detailed(**key, client=client, body=next_value, if_match=tag)
assert late.status_code == 412 and late.parsed.code == "precondition_failed", late
shared = share_credential.sync(**key, with_="bob", client=client, body=ShareInput(), if_match="*")
assert shared.shared_with == ["bob"], shared
listed = list_credentials.sync(client=client, text="gener", limit=1)
assert [one.slug for one in listed.items] == ["generated"], listed
assert value not in repr((made, changed, shared, listed))
lines = list_lines.sync(client=client, slug="generated")
assert any(line.to_dict()["event"] == "credential.created" for line in lines.items), lines

added = create_client.sync("generated", client=client, body=ClientInput(), if_none_match="*")
assert isinstance(added, NewClient), added
runtime = AuthenticatedClient(base_url=url, token=added.token)
minted = mint_token.sync(client=runtime, body=ActionTokenInput(action="report", ttl=60))
assert isinstance(minted, NewToken) and minted.token != added.token, "no token was minted"
sandbox = create_sandbox.sync(
    client=runtime, body=SandboxInput(action="report", proxy="egret.internal:7070")
)
assert isinstance(sandbox, Sandbox) and sandbox.address == "egret.internal:7070", "no sandbox"
assert sandbox.set_.to_dict()["HTTPS_PROXY"] and sandbox.files, "no variables"

revoked = revoke_credential.sync(**key, client=client, if_match="*")
assert revoked.state == "revoked", revoked
gone = delete_credential.sync_detailed(**key, client=client, if_match="*")
assert gone.status_code == 204, gone
missing = get_credential.sync(**key, client=client)
assert isinstance(missing, Problem) and missing.status == 404, missing
print("done")
