// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

const (
	home       = "docs/README.md"
	repository = "https://github.com/valetkey/valetkey/blob/main/"
)

// A group is a part of the menu.
type group struct {
	Title string   `json:"title"`
	Open  bool     `json:"open"`
	Pages []string `json:"pages"`
}

// A page is a file of docs/ and its place in the site.
type page struct{ source, title, body string }

// A book is what the site is written from.
type book struct {
	groups []group
	pages  map[string]page
	// absent are pages that the menu names and nobody has written.
	absent []string
}

func readNavigation(file string) ([]group, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var groups []group
	return groups, yaml.UnmarshalStrict(text, &groups)
}

// readBook reads every page, and finds the place of each in the menu. One that has none is an error.
func readBook(root string, groups []group) (*book, error) {
	sources, err := files(filepath.Join(root, "docs"), ".md")
	if err != nil {
		return nil, err
	}
	b := &book{pages: map[string]page{}}
	var problems []error
	for _, file := range sources {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		source, err := filepath.Rel(root, file)
		if err != nil {
			return nil, err
		}
		p, err := newPage(filepath.ToSlash(source), string(text))
		b.pages[p.source] = p
		problems = append(problems, err)
	}
	placed := map[string]bool{home: true}
	for _, g := range groups {
		b.place(&g, placed)
		if len(g.Pages) > 0 {
			b.groups = append(b.groups, g)
		}
	}
	for source := range b.pages {
		if !placed[source] {
			problems = append(problems, fmt.Errorf("%s is in no menu: add it to %s", source, navigation))
		}
	}
	return b, errors.Join(problems...)
}

// place replaces the patterns of a group by the pages that they stand for.
func (b *book) place(g *group, placed map[string]bool) {
	var pages []string
	for _, pattern := range g.Pages {
		var found []string
		for source := range b.pages {
			if ok, _ := path.Match(pattern, source); ok && !placed[source] { // a pattern that is none matches nothing, and is told as absent
				found = append(found, source)
			}
		}
		if len(found) == 0 {
			b.absent = append(b.absent, pattern)
		}
		slices.SortFunc(found, func(a, b string) int { return strings.Compare(address(a), address(b)) })
		for _, source := range found {
			placed[source] = true
		}
		pages = append(pages, found...)
	}
	g.Pages = pages
}

// newPage takes the title out of a page's first line.
func newPage(source, text string) (page, error) {
	first, body, _ := strings.Cut(text, "\n")
	title, ok := strings.CutPrefix(first, "# ")
	if !ok {
		return page{source: source}, fmt.Errorf("%s does not begin with a heading: it would have no title", source)
	}
	return page{source: source, title: strings.ReplaceAll(title, "`", ""), body: body}, nil
}

// short is a title as the menu has it: what stands before the colon.
func short(title string) string {
	before, _, _ := strings.Cut(title, ": ")
	return before
}

// address is where a page is in the site.
func address(source string) string {
	place := strings.TrimSuffix(strings.TrimPrefix(source, "docs/"), ".md")
	if path.Base(place) == "README" {
		place = path.Dir(place)
	}
	if place == "." {
		return "/"
	}
	return "/" + place + "/"
}

// write writes Hugo's content, and where each page is.
func (b *book) write(folder string) error {
	where := map[string]string{}
	for source := range b.pages {
		where[source] = address(source)
	}
	if err := writeJSON(filepath.Join(folder, "data", "pages.json"), where); err != nil {
		return err
	}
	if err := writeJSON(filepath.Join(folder, "data", "repository.json"), map[string]string{"url": repository}); err != nil {
		return err
	}
	front := b.pages[home]
	if err := writePage(folder, "_index.md", front, map[string]any{"title": front.title, "type": "docs", "cascade": map[string]any{"type": "docs"}}); err != nil {
		return err
	}
	for i, g := range b.groups {
		if err := b.writeGroup(folder, i+1, g); err != nil {
			return err
		}
	}
	return nil
}

// writeGroup writes the pages of a group, and one that lists them.
func (b *book) writeGroup(folder string, weight int, g group) error {
	slug := strings.ReplaceAll(strings.ToLower(g.Title), " ", "-")
	var list strings.Builder
	for i, source := range g.Pages {
		p := b.pages[source]
		fmt.Fprintf(&list, "- [%s](%s)\n", p.title, "../"+source)
		name := strings.ReplaceAll(strings.TrimPrefix(source, "docs/"), "/", "-")
		if err := writePage(folder, path.Join(slug, name), p, map[string]any{"title": p.title, "linkTitle": short(p.title), "weight": i + 1, "url": address(source)}); err != nil {
			return err
		}
	}
	index := page{source: "docs/" + slug, body: list.String()}
	return writePage(folder, path.Join(slug, "_index.md"), index, map[string]any{"title": g.Title, "weight": weight, "url": "/menu/" + slug + "/", "sidebar": map[string]any{"open": g.Open}})
}

func writePage(folder, name string, p page, front map[string]any) error {
	front["source"] = p.source
	matter, err := json.Marshal(front)
	if err != nil {
		return err
	}
	file := filepath.Join(folder, "content", name)
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		return err
	}
	return os.WriteFile(file, fmt.Appendf(matter, "\n%s", p.body), 0o600)
}

func writeJSON(file string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o600)
}
