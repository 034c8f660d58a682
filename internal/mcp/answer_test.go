// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// TestWhatPeopleWroteCannotMoveACursor: or turn the direction of what follows, or hide it.
func TestWhatPeopleWroteCannotMoveACursor(t *testing.T) {
	const wild = "red\x1b[31m \u202eesrever\u2066 \u200bhidden\u2028new\nline\x7f\u0085 \\u001b \"quoted\" C:\\dir ü 🙂 <&>"
	w := newWorld(t, newCapability(func(c *v1alpha1.Capability) { c.Name, c.Spec.Description = "wild", wild }), func() *v1alpha1.CapabilityPolicy {
		p := allow("wild", "preview")
		p.Spec.Capabilities = []string{"wild"}
		return p
	}(), stored("x", refuses(v1alpha1.ReasonDeniedByPerson, wild)))
	does := w.call("capabilities", arguments{"capability": "wild"}).offered.Capabilities[0].Does
	status := w.call("status", arguments{"name": "x"})
	message := status.Message
	if !strings.Contains(status.text, "<&>") {
		t.Errorf("signs are written in more characters than they have: %s", status.text)
	}
	for _, got := range []string{does, message} {
		if strings.ContainsFunc(got, hidden) || !strings.Contains(got, `\u001b "quoted" C:\dir ü 🙂 <&>`) || !strings.Contains(got, "new line") {
			t.Errorf("%q", got)
		}
	}
	w.while("wait", arguments{"name": "x"}, func() {
		if said := <-w.progress; strings.ContainsFunc(said, hidden) {
			t.Errorf("%q", said)
		}
	})
}

func FuzzAnAnswerIsOneJSONObjectWithoutHiddenCharacters(f *testing.F) {
	f.Add("\x1b\u202e\\\"\\u0000\xff\u2028<&>")
	f.Fuzz(func(t *testing.T, s string) {
		said, err := plain(map[string]string{s: s})
		if err != nil || strings.ContainsFunc(said, hidden) {
			t.Fatalf("%q: %v", said, err)
		}
		var read map[string]string
		if err := json.Unmarshal([]byte(said), &read); err != nil || len(read) != 1 {
			t.Fatalf("%q: %v", said, err)
		}
		for _, v := range read {
			if strings.ContainsFunc(v, hidden) {
				t.Errorf("%q", v)
			}
		}
		if got := clean(s, 10); strings.ContainsFunc(got, hidden) || len(got) > 10 || (utf8.ValidString(s) && !utf8.ValidString(got)) {
			t.Errorf("%q is cleaned to %q", s, got)
		}
	})
}

// TestThereAreToolsAndNothingElse: no resource, no prompt, no log of the protocol's.
func TestThereAreToolsAndNothingElse(t *testing.T) {
	w := newWorld(t)
	if can, err := json.Marshal(w.session.InitializeResult().Capabilities); err != nil || string(can) != `{"tools":{}}` {
		t.Errorf("the server can %s (%v)", can, err)
	}
	tools, err := w.session.ListTools(w.ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	looks := map[string]bool{"capabilities": true, "ask": false, "wait": true, "status": true, "withdraw": false}
	if len(tools.Tools) != len(looks) {
		t.Errorf("there are %d tools", len(tools.Tools))
	}
	for _, tool := range tools.Tools {
		if tool.Annotations.ReadOnlyHint != looks[tool.Name] || *tool.Annotations.DestructiveHint != (tool.Name == "withdraw") {
			t.Errorf("%s says of itself %+v", tool.Name, tool.Annotations)
		}
	}
	resources, err := w.session.ListResources(w.ctx, nil)
	if err == nil && len(resources.Resources) > 0 {
		t.Errorf("there are %d resources", len(resources.Resources))
	}
	prompts, err := w.session.ListPrompts(w.ctx, nil)
	if err == nil && len(prompts.Prompts) > 0 {
		t.Errorf("there are %d prompts", len(prompts.Prompts))
	}
}
