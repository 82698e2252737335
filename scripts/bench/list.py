#!/usr/bin/env python3
"""Lists all sessions of a gateway, page by page, again and again: list.py URL SECONDS

Prints how many sessions the shortest listing showed, how many listings there were and how long the longest page took.
"""
import http.client
import json
import sys
import time

host, patience = sys.argv[1].removeprefix("http://"), float(sys.argv[2])
begun, shown, longest = time.monotonic(), [], 0.0
while not shown or time.monotonic() - begun < patience:
    seen, cursor = set(), ""
    while cursor is not None:
        asked = time.monotonic()
        # A connection for every page, as curl would make them: one alone ends after a minute.
        connection = http.client.HTTPConnection(host)
        connection.request("GET", f"/api/v1/sessions?limit=1000{cursor}")
        page = json.load(connection.getresponse())
        connection.close()
        longest = max(longest, time.monotonic() - asked)
        seen.update(hash((row["protocol"], row["inside"], row["remote"])) for row in page["items"])
        cursor = page["next_cursor"] and f"&cursor={page['next_cursor']}"
    shown.append(len(seen))
print(json.dumps({"listings": len(shown), "sessions": min(shown), "page_ms_max": round(longest * 1000)}))
