// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"encoding/json"
	"testing"

	"github.com/tiktoken-go/tokenizer"
	corev1 "k8s.io/api/core/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// TestWhatAnAgentPaysIsSmall prints what docs/mcp.md says, and fails when something has grown.
func TestWhatAnAgentPaysIsSmall(t *testing.T) {
	codec, err := tokenizer.Get(tokenizer.O200kBase)
	if err != nil {
		t.Fatal(err)
	}
	measure := func(what, text string, most int) {
		t.Helper()
		tokens, err := codec.Count(text)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%-55s %5d bytes %4d tokens", what, len(text), tokens)
		if tokens > most {
			t.Errorf("%s takes %d tokens; at most %d\n%s", what, tokens, most, text)
		}
	}
	w := newWorld(t)
	tools, err := w.session.ListTools(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	// What a model sees of a tool: its name, its description, and what it takes.
	type seen struct {
		Name        string `json:"name"`
		Description string `json:"description"`
		InputSchema any    `json:"input_schema"`
	}
	var all []seen
	for _, tool := range tools.Tools {
		all = append(all, seen{tool.Name, tool.Description, tool.InputSchema})
	}
	list, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	measure("the instructions", w.session.InitializeResult().Instructions, 80)
	measure("the five tools", string(list), 900)
	measure("capabilities: one, with two policies and a step", w.call("capabilities", arguments{}).text, 200)
	measure("ask: refused", w.call("ask", plea(arguments{"environment": "production"})).text, 200)
	measure("ask: wrong input", w.call("ask", plea(arguments{"ttl_seconds": 99999})).text, 100)
	measure("ask: awaits approval, with the command", w.asks(plea(), awaitsApproval).text, 250)
	measure("status: awaits approval, with what an approver has to read", awaiting(t, func(*corev1.PodSpec) {}).call("status", arguments{"name": asking}).text, 450)
	w.grants(asking)
	measure("status: running", w.call("status", arguments{"name": asking}).text, 150)
	measure("status: one's requests, of which there is one", w.call("status", arguments{}).text, 120)
	w.settles(asking, v1alpha1.OutcomeCompleted)
	w.operator(asking, ends(v1alpha1.ReasonGrantEnded, "Completed: the Job succeeded; a copy of the credential would work until 12:20:00Z"))
	measure("wait: ended", w.call("wait", arguments{"name": asking}).text, 150)
	measure("wait: no such request", w.call("wait", arguments{"name": "never"}).text, 100)
}
