"""Findings for people: one page of HTML, and a summary for the terminal.

Draws what `candled.lab.findings` says and works nothing out itself. Plotly comes with the extra
``report``; only the page needs it.
"""

from candled.lab.report.page import Chapter, ReportError, render
from candled.lab.report.terminal import summary

__all__ = ["Chapter", "ReportError", "render", "summary"]
