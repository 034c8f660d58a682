// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package docs reads the commands that the documentation shows, and sees that each is run or says why not.
//
// A page shows commands in blocks of the language console: a line that begins with "$ " is typed, what follows is printed. In what
// is printed … stands for anything within a line, and on a line of its own for any lines. A block that no test runs has an HTML
// comment in front of it, which readers of the page do not see:
//
//	<!-- not run: WHY -->
//	<!-- run: TestName, TestOther -->     with names and values of their own
package docs

import (
	"fmt"
	"regexp"
	"strings"
)

// Played are the pages whose commands are typed as they stand, one after the other in one shell.
func Played() []string { return []string{"docs/start.md", "docs/operations.md"} }

// A Block is a code block of a page.
type Block struct {
	// Line of the page that it begins in.
	Line int
	// Language of a fenced block; empty if it is indented or has none.
	Language string
	// Lines of it.
	Lines []string
	// Run names the tests that run it, and NotRun says why none does.
	Run, NotRun string
}

// A Step is a command and what it prints.
type Step struct {
	// Line of the page.
	Line int
	// Command as it is typed, and Output as the page shows it.
	Command, Output string
}

var mark = regexp.MustCompile(`^<!-- (run|not run): (.+) -->$`)

// Blocks are the code blocks of a page, in order.
func Blocks(text string) []Block {
	var blocks []Block
	var current *Block
	var pending Block
	fence, indented := "", false
	blank := true
	for i, line := range strings.Split(text, "\n") {
		switch {
		case fence != "":
			if strings.TrimSpace(line) == fence {
				blocks, current, fence = append(blocks, *current), nil, ""
			} else {
				current.Lines = append(current.Lines, line)
			}
			continue
		case indented && (strings.HasPrefix(line, "    ") || strings.TrimSpace(line) == ""):
			current.Lines = append(current.Lines, strings.TrimPrefix(line, "    "))
			continue
		case indented:
			blocks, current, indented = append(blocks, *current), nil, false
		}
		if found := mark.FindStringSubmatch(line); found != nil {
			pending = Block{}
			if found[1] == "run" {
				pending.Run = found[2]
			} else {
				pending.NotRun = found[2]
			}
		} else if language, ok := strings.CutPrefix(strings.TrimSpace(line), "```"); ok {
			fence = "```"
			current = &Block{Line: i + 1, Language: language, Run: pending.Run, NotRun: pending.NotRun}
			pending = Block{}
		} else if strings.HasPrefix(line, "    ") && blank {
			indented = true
			current = &Block{Line: i + 1, Lines: []string{line[4:]}, Run: pending.Run, NotRun: pending.NotRun}
			pending = Block{}
		} else if strings.TrimSpace(line) != "" {
			pending = Block{}
		}
		blank = strings.TrimSpace(line) == "" || strings.HasPrefix(line, "<!--")
	}
	if current != nil {
		blocks = append(blocks, *current)
	}
	return blocks
}

// Steps are the commands of a block of the language console.
func (b Block) Steps() []Step {
	var steps []Step
	for i, line := range b.Lines {
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			steps = append(steps, Step{Line: b.Line + 1 + i, Command: command})
		} else if n := len(steps); n > 0 && strings.HasSuffix(steps[n-1].Command, "\\") && steps[n-1].Output == "" {
			steps[n-1].Command += "\n" + line
		} else if n > 0 {
			steps[n-1].Output += line + "\n"
		}
	}
	return steps
}

// typed begins a line that somebody types, in blocks that do not mark them.
var typed = regexp.MustCompile(`^(\$ )?(sudo |[A-Z_]+=\S+ )*(kubectl|make|helm|go|git|docker|kind|aws|gcloud|vault|gh|flux|argocd|openssl|curl|cosign|syft|skopeo|promtool|etcdctl|install|export)( |$)`)

// Commands are the lines of a block that somebody types.
func (b Block) Commands() []string {
	var found []string
	switch b.Language {
	case "", "console", "sh", "bash", "shell":
	default:
		return nil
	}
	for _, line := range b.Lines {
		if typed.MatchString(line) || strings.HasPrefix(line, "$ ") {
			found = append(found, strings.TrimPrefix(line, "$ "))
		}
	}
	return found
}

// Like compares what was printed with what the page shows.
func (s Step) Like(printed string) error {
	var form strings.Builder
	for _, line := range strings.SplitAfter(strings.TrimRight(s.Output, "\n"), "\n") {
		if strings.TrimSpace(line) == "…" {
			form.WriteString(`(?:.*\n)*?`)
			continue
		}
		parts := strings.Split(strings.TrimRight(line, "\n"), "…")
		for i, part := range parts {
			if i > 0 {
				form.WriteString(`.*?`)
			}
			form.WriteString(spaces.ReplaceAllString(regexp.QuoteMeta(part), `[ \t]+`))
		}
		form.WriteString("[ \\t]*\n")
	}
	if s.Output == "" {
		return nil
	}
	if !regexp.MustCompile(`\A` + form.String() + `\z`).MatchString(strings.TrimRight(printed, "\n") + "\n") {
		return fmt.Errorf("%s\nprints\n%s\nand the page shows\n%s", s.Command, printed, s.Output)
	}
	return nil
}

var spaces = regexp.MustCompile(`[ \t]+`)
