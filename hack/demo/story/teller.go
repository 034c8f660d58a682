// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package story tells the article's story on a stage, and insists on every line of it.
package story

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/valetkey/valetkey/hack/demo/stage"
)

// Tell tells the whole story. An error says where it went differently.
func Tell(ctx context.Context, s *stage.Stage, out io.Writer) error {
	t := &teller{stage: s, out: out}
	for _, chapter := range []struct {
		title string
		tell  func(context.Context, *teller) error
	}{
		{"a. Publish the preview build for PR-184", publish},
		{"b. A Job overstays its time while the operator is down", overstay},
		{"c. What is refused, and by which words", refused},
		{"d. The kill switch: a Deny policy is applied while a Job runs", killSwitch},
		{"What was granted, to whom, for how long, and how it ended", ledger},
	} {
		_, _ = fmt.Fprintf(out, "\n%s\n", chapter.title)
		if err := chapter.tell(ctx, t); err != nil {
			return fmt.Errorf("%s: %w", chapter.title, err)
		}
	}
	return nil
}

// teller plays the story and prints it.
type teller struct {
	stage *stage.Stage
	out   io.Writer
}

// line prints one line of the terminal view: what, and what is known of it.
func (t *teller) line(what string, facts ...string) {
	_, _ = fmt.Fprintf(t.out, "%-18s  %s\n", what, strings.Join(facts, " "))
}

// says prints a person's command.
func (t *teller) says(who, command string) { _, _ = fmt.Fprintf(t.out, "%s$ %s\n", who, command) }

// kubectl runs a command as a person.
func (t *teller) kubectl(ctx context.Context, who stage.Person, args ...string) (string, error) {
	return t.stage.Kubectl(ctx, who, append([]string{"-n", stage.Namespace}, args...)...)
}

// ask has the agent create a request and its Job, from the samples.
func (t *teller) ask(ctx context.Context, o stage.Ask) error {
	t.says("agent", fmt.Sprintf("kubectl create -k request/   # %s: %s for %s, %d seconds", o.Name, "publish-preview-build", o.Environment, o.TTLSeconds))
	return t.stage.Request(ctx, stage.Agent, o)
}

// refusal runs what must be refused, and prints the words of the refusal. One that is not refused is an error.
func (t *teller) refusal(ctx context.Context, title string, who stage.Person, words string, args ...string) error {
	_, err := t.kubectl(ctx, who, args...)
	var refused *stage.Refusal
	switch {
	case err == nil:
		return fmt.Errorf("%s was not refused", title)
	case !errors.As(err, &refused):
		return err
	case !strings.Contains(refused.Words, words):
		return fmt.Errorf("%s was refused with other words: %s", title, refused.Words)
	}
	t.line("refused", title+":", essence(refused.Words))
	return nil
}

var policyWords = regexp.MustCompile(`(?s)^.*ValidatingAdmissionPolicy '([^']+)'.*denied request: (.*)$`)

// essence is the rule and its words, without the API server's preamble.
func essence(words string) string {
	if m := policyWords.FindStringSubmatch(words); m != nil {
		return fmt.Sprintf("%q (%s)", strings.TrimSpace(m[2]), m[1])
	}
	return fmt.Sprintf("%q", words)
}
