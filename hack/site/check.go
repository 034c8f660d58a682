// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/net/html"
)

// A site is what was built: what can be linked to in each file.
type site struct {
	folder, root string
	// anchors of each page, by its path.
	anchors map[string]map[string]bool
	// links of each page, and what it loads.
	links, loads map[string][]string
}

// check sees that every link leads somewhere, that every page is in the menu of every other, and that nothing is loaded from elsewhere.
func check(folder, root string) error {
	s := &site{folder: folder, root: root, anchors: map[string]map[string]bool{}, links: map[string][]string{}, loads: map[string][]string{}}
	pages, err := files(folder, ".html")
	if err != nil {
		return err
	}
	for _, file := range pages {
		if err := s.read(file); err != nil {
			return err
		}
	}
	var problems []error
	for at := range s.anchors {
		for _, link := range s.links[at] {
			problems = append(problems, s.follow(at, link))
		}
		for _, load := range s.loads[at] {
			problems = append(problems, s.loaded(at, load))
		}
		problems = append(problems, s.reached(at))
	}
	return errors.Join(append(problems, s.styles())...)
}

// read parses a page.
func (s *site) read(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	place, err := filepath.Rel(s.folder, file)
	if err != nil {
		return err
	}
	at := "/" + strings.TrimSuffix(filepath.ToSlash(place), "index.html")
	s.anchors[at] = map[string]bool{"": true}
	tokens := html.NewTokenizer(f)
	for {
		switch tokens.Next() {
		case html.ErrorToken:
			if err := tokens.Err(); !errors.Is(err, io.EOF) {
				return fmt.Errorf("%s: %w", file, err)
			}
			return nil
		case html.StartTagToken, html.SelfClosingTagToken:
			s.tag(at, tokens.Token())
		}
	}
}

// tag notes what a tag links to, loads, or can be linked to by.
func (s *site) tag(at string, token html.Token) {
	attributes := map[string]string{}
	for _, a := range token.Attr {
		attributes[a.Key] = a.Val
	}
	if id := attributes["id"]; id != "" {
		s.anchors[at][id] = true
	}
	if target, ok := attributes["href"]; ok {
		switch {
		case token.Data == "a":
			s.links[at] = append(s.links[at], target)
		case token.Data == "link" && attributes["rel"] != "canonical":
			s.loads[at] = append(s.loads[at], target)
		}
	}
	for _, key := range []string{"src", "srcset", "data", "poster"} {
		if target := attributes[key]; target != "" {
			s.loads[at] = append(s.loads[at], target)
		}
	}
}

// follow follows a link. Those that leave the site are believed, but for those into the repository.
func (s *site) follow(at, link string) error {
	if file, ok := strings.CutPrefix(link, repository); ok {
		file, _, _ = strings.Cut(file, "#")
		if _, err := os.Stat(filepath.Join(s.root, file)); err != nil {
			return fmt.Errorf("%s links to %s, which is not in the repository", at, file)
		}
		return nil
	}
	u, err := url.Parse(link)
	if err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	if u.IsAbs() {
		return nil
	}
	target := at
	if u.Path != "" {
		target = path.Join(path.Dir(at), u.Path)
		if path.IsAbs(u.Path) {
			target = u.Path
		}
	}
	anchors, ok := s.anchors[target]
	if !ok {
		if u.Fragment == "" && s.stored(target) {
			return nil
		}
		return fmt.Errorf("%s links to %s, which is not there", at, link)
	}
	if !anchors[u.Fragment] {
		return fmt.Errorf("%s links to %s, which has no such heading", at, link)
	}
	return nil
}

// loaded sees that what a page loads is in the site.
func (s *site) loaded(at, target string) error {
	u, err := url.Parse(target)
	if err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	if u.Host != "" || u.Scheme != "" && u.Scheme != "data" {
		return fmt.Errorf("%s loads %s from elsewhere", at, target)
	}
	if u.Scheme == "" && !s.stored(u.Path) {
		return fmt.Errorf("%s loads %s, which is not there", at, target)
	}
	return nil
}

func (s *site) stored(target string) bool {
	_, err := os.Stat(filepath.Join(s.folder, filepath.FromSlash(target)))
	return err == nil
}

// reached sees that the front page's menu leads to a page.
func (s *site) reached(at string) error {
	if at == "/" || at == "/404.html" {
		return nil
	}
	for _, link := range s.links["/"] {
		if link == at {
			return nil
		}
	}
	return fmt.Errorf("%s is in no menu", at)
}

// foreign is what would make a browser fetch from another host, in a style sheet or a script.
var foreign = regexp.MustCompile(`(?:url\(\s*["']?|@import\s+["']|importScripts\(["']|import\(["']|fetch\(["'])(?:https?:)?//[^"')\s]+`)

// styles sees that no style sheet or script loads anything from elsewhere.
func (s *site) styles() error {
	var problems []error
	for _, suffix := range []string{".css", ".js", ".svg"} {
		list, err := files(s.folder, suffix)
		if err != nil {
			return err
		}
		for _, file := range list {
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			for _, found := range foreign.FindAll(text, -1) {
				problems = append(problems, fmt.Errorf("%s loads from elsewhere: %s", file, found))
			}
		}
	}
	return errors.Join(problems...)
}
