"""Two hundred names that mean harm."""

from __future__ import annotations

from itertools import product

_CORES = (
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<svg onload=alert(1)>", "<iframe src=//evil.test></iframe>", "javascript:alert(1)",
    "<a href='javascript:alert(1)'>x</a>", "<style>*{display:none}</style>", "<base href=//evil.test>", "<meta http-equiv=refresh content=0>", "<form action=//evil.test>",
    "{{ 7*7 }}", "{% raw %}", "{# x #}", "&lt;script&gt;", "&#60;b&#62;", "url(//evil.test)", "expression(alert(1))", "\u202egnp.<b>", "\x1b[31m<i>", "%3Cscript%3E",
    "<b\x01>", "<details open ontoggle=alert(1)>", "<link rel=stylesheet href=//evil.test>", "\ud7ff<u>", "\ufeff<s>",
)  # fmt: skip
_WAYS_OUT = ("", '">', "'>", "-->", "]]>", "</title>", "</text></svg>", "</pre></details>")

PAYLOADS = tuple(f"{way}{core}" for way, core in product(_WAYS_OUT, _CORES))
