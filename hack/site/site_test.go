// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// write makes a folder of files.
func write(t *testing.T, content map[string]string) string {
	t.Helper()
	folder := t.TempDir()
	for name, text := range content {
		file := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func TestCheckTellsWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct{ page, file, text, want string }{
		"nothing":                        {page: `<a href="/">home</a><a href="#here">here</a><h2 id="here"></h2><img src="/p.png"><a href="https://elsewhere.example/x">x</a>`},
		"a link to no page":              {page: `<a href="/gone/">x</a>`, want: "/a/ links to /gone/, which is not there"},
		"a relative link to no page":     {page: `<a href="b.md">x</a>`, want: "/a/ links to b.md, which is not there"},
		"a link to no heading":           {page: `<a href="/#gone">x</a>`, want: "/a/ links to /#gone, which has no such heading"},
		"a heading of its own, not here": {page: `<a href="#gone">x</a>`, want: "which has no such heading"},
		"a file of the repository":       {page: `<a href="` + repository + `there.go">x</a>`},
		"a file that is not in it":       {page: `<a href="` + repository + `gone.go">x</a>`, want: "links to gone.go, which is not in the repository"},
		"a script from elsewhere":        {page: `<script src="https://cdn.example/x.js"></script>`, want: "/a/ loads https://cdn.example/x.js from elsewhere"},
		"without a scheme, too":          {page: `<script src="//cdn.example/x.js"></script>`, want: "from elsewhere"},
		"a style sheet from elsewhere":   {page: `<link rel="stylesheet" href="https://cdn.example/x.css">`, want: "from elsewhere"},
		"where the page is at home":      {page: `<link rel="canonical" href="https://valetkey.example/a/">`},
		"a picture that is not there":    {page: `<img src="/gone.png">`, want: "/a/ loads /gone.png, which is not there"},
		"a picture in the page":          {page: `<img src="data:image/png;base64,AA==">`},
		"a font from elsewhere":          {file: "x.css", text: `@font-face{src:url("https://fonts.example/x.woff2")}`, want: `loads from elsewhere: url("https://fonts.example/x.woff2`},
		"a font of its own":              {file: "x.css", text: `@font-face{src:url("/x.woff2")}`},
		"a script that fetches":          {file: "x.js", text: `fetch("https://tracker.example/x")`, want: "loads from elsewhere"},
		"a page in no menu":              {file: "b/index.html", text: `<h1>b</h1>`, want: "/b/ is in no menu"},
	} {
		t.Run(name, func(t *testing.T) {
			content := map[string]string{"index.html": `<a href="/a/">a</a>`, "a/index.html": c.page, "p.png": "", "404.html": ""}
			if c.file != "" {
				content[c.file] = c.text
			}
			err := check(write(t, content), write(t, map[string]string{"there.go": ""}))
			if c.want == "" && err != nil {
				t.Errorf("it complains: %v", err)
			}
			if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("it says %v, not %q", err, c.want)
			}
		})
	}
}

func TestEveryPageHasOnePlaceInTheMenu(t *testing.T) {
	root := write(t, map[string]string{
		"docs/README.md": "# Home\n", "docs/start.md": "# Start: now\n\nText.\n", "docs/rules/README.md": "# Rules\n", "docs/rules/b.md": "# B\n", "docs/rules/a.md": "# A `x`\n",
	})
	b, err := readBook(root, []group{{Title: "One", Pages: []string{"docs/start.md", "docs/later.md"}}, {Title: "Two", Pages: []string{"docs/rules/b.md", "docs/rules/*"}}, {Title: "None", Pages: []string{"docs/none/*"}}})
	if err != nil {
		t.Fatal(err)
	}
	want := []group{{Title: "One", Pages: []string{"docs/start.md"}}, {Title: "Two", Pages: []string{"docs/rules/b.md", "docs/rules/README.md", "docs/rules/a.md"}}}
	if diff := cmp.Diff(want, b.groups); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"docs/later.md", "docs/none/*"}, b.absent); diff != "" {
		t.Error(diff)
	}
	if got := b.pages["docs/rules/a.md"].title; got != "A x" {
		t.Errorf("the title is %q", got)
	}
}

func TestAPageWithoutAPlaceOrATitleIsAnError(t *testing.T) {
	root := write(t, map[string]string{"docs/README.md": "# Home\n", "docs/stray.md": "# Stray\n", "docs/plain.md": "No heading.\n"})
	_, err := readBook(root, []group{{Title: "One", Pages: []string{"docs/plain.md"}}})
	for _, want := range []string{"docs/stray.md is in no menu", "docs/plain.md does not begin with a heading"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("it says %v, not %q", err, want)
		}
	}
}

func TestAPagesAddressFollowsItsFile(t *testing.T) {
	for source, want := range map[string]string{"docs/README.md": "/", "docs/start.md": "/start/", "docs/rules/README.md": "/rules/", "docs/rules/a.md": "/rules/a/"} {
		if got := address(source); got != want {
			t.Errorf("%s is at %s, want %s", source, got, want)
		}
	}
}
