// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"

	"github.com/valetkey/valetkey/internal/visible"
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
	// Review is what that person has to read.
	Review *reviewed `json:"review,omitempty"`
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

// encoded is a body as one JSON object. What people wrote into the cluster is shown to agents, and by them to other
// people: each string is one line that hides nothing, also for whoever reads it out of the JSON.
func encoded(body any) (string, error) {
	text, err := inJSON(body)
	if err != nil {
		return "", err
	}
	return jsonString.ReplaceAllStringFunc(text, func(found string) string {
		var value string
		if err := json.Unmarshal([]byte(found), &value); err != nil {
			return visible.Line(found)
		}
		line, err := inJSON(visible.Line(value))
		if err != nil {
			return visible.Line(found)
		}
		return line
	}), nil
}

// jsonString matches each string of a JSON text.
var jsonString = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

// inJSON writes <, > and & as they are: an agent pays for each character.
func inJSON(value any) (string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(value)
	return strings.TrimSuffix(b.String(), "\n"), err
}
