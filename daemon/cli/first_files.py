"""What `hark init` writes."""

from __future__ import annotations

_WORKFLOW = """\
# A first workflow. `hark validate workflows` checks it, `hark apply workflows` publishes it; a daemon that was started
# here applies it by itself (hark.toml says so).
id: greeting
name: Greet whoever is named

# What the steps read, whatever started the execution. JSON Schema properties.
inputs:
  name: {type: string, default: world}

# What starts it. Other kinds: row, cron, webhook, notify (`hark triggers`).
triggers:
  - id: on_greeting
    type: event
    event: GREETING               # hark emit GREETING --data '{"name": "Ada"}'
    inputs: {name: "${{ event.data.name }}"}
  - {id: every_morning, type: cron, schedule: "0 9 * * mon-fri", timezone: UTC}

# What it does, in order. `hark actions` lists what there is; ${{ … }} holds an expression (CEL).
steps:
  - id: greet
    action: log_event
    with: {level: info, message: "Hello ${{ inputs.name }}"}
  - id: is_it_ada
    if: inputs.name == "Ada"
    then:
      - {id: bow, action: log_event, with: {level: warning, message: "The first programmer is here"}}
    else:
      - {id: nod, set: {greeted: "${{ inputs.name }}"}}

# What has to come of it. `hark test` runs these here, without a daemon.
tests:
  - name: Ada is bowed to
    event: {trigger: on_greeting, data: {name: Ada}}
    expect: {steps: {bow: completed, nod: not_reached}}
  - {name: others are nodded to, input: {name: Bob}, expect: {vars: {greeted: Bob}}}
"""

_SETTINGS = """\
# Settings of `hark run` in this directory. Flags and HARK_* variables go first; `hark settings` shows what counts.

workflows = "workflows"           # definitions that are applied at start

# database_url = "postgresql://user:password@host:5432/database"   # instead of the embedded PostgreSQL
# host = "127.0.0.1"
# port = 8470

# [smtp]                          # the mail server of send_email
# host = "mail.example.org"
# username = "hark"
"""

FIRST_FILES = {"workflows/greeting.yaml": _WORKFLOW, "hark.toml": _SETTINGS}
"""File names and contents."""
