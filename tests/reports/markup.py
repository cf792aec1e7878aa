"""A check of pages and figures: every tag is closed, and nothing outside is referred to."""

import html.parser


class Checker(html.parser.HTMLParser):
    """Collects what a page refers to, and sees that every tag is closed."""

    VOID = ("meta", "link", "br", "img", "input", "hr")

    def __init__(self):
        super().__init__()
        self.open, self.links = [], []

    def handle_starttag(self, tag, attrs):
        self.links += [value for key, value in attrs if key in ("href", "src", "xlink:href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def check(text):
    checker = Checker()
    checker.feed(text)
    assert not checker.open
    outside = [link for link in checker.links if link and link.startswith(("http", "//"))]
    assert not outside, outside
    return checker
