// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/valetkey/valetkey/internal/policy"
)

// answer is what a tool says.
type answer struct {
	// body becomes one JSON object.
	body any
	// failed is set when what was asked for was not done.
	failed bool
}

// told is what is said of one request.
type told struct {
	Name  string `json:"name,omitempty"`
	State state  `json:"state"`
	// Outcome is how its grant ended.
	Outcome string `json:"outcome,omitempty"`
	// Asked is what was asked for.
	Asked *asked `json:"asked,omitempty"`
	// Rule is what refused it: a policy, a person, a field's limits, the API server.
	Rule string `json:"rule,omitempty"`
	// Message says it in a sentence.
	Message string `json:"message,omitempty"`
	// Change has the clauses of the rule that do not hold, by what would have to be another.
	Change map[string]string `json:"change,omitempty"`
	// Approve is the command that a person types.
	Approve string `json:"approve,omitempty"`
	// Until is when the credential's time is up.
	Until string `json:"until,omitempty"`
	// Unchecked says what could not be looked at beforehand.
	Unchecked []string `json:"unchecked,omitempty"`
	// Next is what the agent can do.
	Next string `json:"next"`
}

// asked is what a request asks for.
type asked struct {
	Capability  string `json:"capability"`
	Repo        string `json:"repo"`
	Environment string `json:"environment"`
	TTLSeconds  int32  `json:"ttl_seconds,omitempty"`
	Task        string `json:"task"`
}

// plain is a body as one JSON object without anything that could move a cursor, hide text or turn its direction around: what
// people wrote into the cluster is shown to agents, and by them to other people.
func plain(body any) (string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(body); err != nil {
		return "", err
	}
	return strip(strings.TrimSuffix(b.String(), "\n")), nil
}

// strip takes the characters that clean takes out of the strings of a JSON text. Nothing else of a JSON text has such characters, or
// backslashes, so that the strings need not be found.
func strip(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r != '\\':
			if !hidden(r) {
				b.WriteString(text[i : i+size])
			}
		case text[i+1] == '"' || text[i+1] == '\\':
			size = 2
			b.WriteString(text[i : i+size])
		case text[i+1] == 'u':
			// The encoder writes only what is hidden so, and the mark for what is no character.
			size = 6
			b.WriteByte(' ')
		default:
			size = 2
			b.WriteByte(' ')
		}
		i += size
	}
	return b.String()
}

// clean makes a text fit into a line, and shorter than a limit.
func clean(s string, limit int) string {
	return policy.Clip(strings.Map(func(r rune) rune {
		if hidden(r) {
			return ' '
		}
		return r
	}, s), limit)
}

func hidden(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Cs, unicode.Zl, unicode.Zp)
}
