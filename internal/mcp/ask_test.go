// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

func forbidden(resource, words string) error {
	return apierrors.NewForbidden(schema.GroupResource{Group: "valetkey.dev", Resource: resource}, "", errors.New(words))
}

// TestWhatWouldBeRefusedIsNotCreated: each refusal names what was asked, what refused it, and what can be done.
func TestWhatWouldBeRefusedIsNotCreated(t *testing.T) {
	freeze := &v1alpha1.CapabilityPolicy{}
	freeze.Name = "freeze"
	freeze.Spec = v1alpha1.CapabilityPolicySpec{Effect: v1alpha1.EffectDeny, Capabilities: []string{"*"}, Environments: []string{"frozen"}}
	elsewhere := allow("elsewhere", "staging")
	elsewhere.Spec.Namespaces = []string{"others"}
	artifacts := newCapability(func(c *v1alpha1.Capability) {
		c.Name, c.Spec.GitHub = "read-ci-artifacts", &v1alpha1.GitHubCapability{Owner: "acme", Repositories: []string{"*"}}
	})
	w := newWorld(t, freeze, elsewhere, artifacts)
	for _, tt := range []struct {
		name  string
		given arguments
		rule  string
		words []string
	}{
		{"another repo", arguments{"repo": "payments", "ttl_seconds": nil}, "policy preview-builds", []string{`"ttl_seconds":900`, `"repo":"web-app; the request has payments"`, changeAndAsk}},
		{"an expression", arguments{"task": "nightly"}, "policy preview-builds", []string{`"when[0]":"a preview is for a pull request"`, changeAndAsk}},
		{"a namespace that is not the agent's", arguments{"environment": "staging", "repo": "web-app"}, "policy elsewhere", []string{`"namespaces":"others; the request has agents"`, tellAPerson}},
		{"a policy that denies", arguments{"environment": "frozen"}, "policy freeze", []string{"policy freeze denies it", tellAPerson}},
		{"the same repo in another spelling", arguments{"capability": "read-ci-artifacts", "repo": "ACME/Web-App"}, "names", []string{"write repo as web-app, not ACME/Web-App", writeNames}},
		{"a capability that is not there", arguments{"capability": "publish-preview"}, "no policy", []string{"policies let this requester ask for publish-preview-build"}},
		{"a step that is not listed", arguments{"image": image, "command": []string{"/bin/sh"}}, "the capability's steps", []string{`command is [\"/bin/sh\"], not [\"/publish-preview\"]`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := w.in(t)
			w.expectRefusal(w.call("ask", plea(tt.given)), tt.rule, append(tt.words, "nothing was created")...)
		})
	}
	w.expectChanges()
}

// TestAWholeNumberIsOneHoweverItIsWritten: JSON Schema calls 600.0 an integer, and some clients write every number so.
func TestAWholeNumberIsOneHoweverItIsWritten(t *testing.T) {
	ttl := field{least: 10, most: 43200}
	for _, text := range []string{"600", "600.0", "6e2", "6.0E+2", "60000e-2"} {
		if got, wrong := ttl.takeNumber(json.Number(text)); got != int32(600) {
			t.Errorf("%s is taken for %v: %s", text, got, wrong)
		}
	}
}

func TestWrongInputIsToldByFieldWithWhatIsAllowed(t *testing.T) {
	w := newWorld(t)
	for words, wrong := range map[string]any{
		"capability is missing; repo is missing; environment is missing; task is missing; justification is missing": arguments{},
		"ttl_seconds is 99999; a whole number from 10 to 43200 is allowed":                                          plea(arguments{"ttl_seconds": 99999}),
		"ttl_seconds is 9; a whole number from 10 to 43200 is allowed":                                              plea(arguments{"ttl_seconds": 9}),
		"ttl_seconds is 1.5; a whole number from 10 to 43200 is allowed":                                            plea(arguments{"ttl_seconds": 1.5}),
		"ttl_seconds is 1e999; a whole":                                                                             plea(arguments{"ttl_seconds": json.Number("1e999")}),
		"ttl_seconds is 9e9; a whole":                                                                               plea(arguments{"ttl_seconds": json.Number("9e9")}),
		"ttl_seconds is 600.5; a whole":                                                                             plea(arguments{"ttl_seconds": json.Number("600.5")}),
		"ttl_seconds is not a number; a whole number from 10 to 43200 is allowed":                                   plea(arguments{"ttl_seconds": "900"}),
		"repo is \"../secrets\"; allowed are letters, digits, dots, underscores and dashes, with /":                 plea(arguments{"repo": "../secrets"}),
		"environment is \"pre/view\"; allowed are letters, digits, underscores and dashes":                          plea(arguments{"environment": "pre/view"}),
		"justification has 20000000 characters; at most 1024 are allowed":                                           plea(arguments{"justification": strings.Repeat("ü", 10000) + strings.Repeat("x", 1000)}),
		"justification is \"two\\nlines\"; allowed are characters that print, on one line":                          plea(arguments{"justification": "two\nlines"}),
		"task is empty":                               plea(arguments{"task": ""}),
		"name has 55 characters; at most 54":          plea(arguments{"name": strings.Repeat("n", 55)}),
		"args is not a list of texts":                 plea(arguments{"args": "publish"}),
		"args has no text at [1]":                     plea(arguments{"args": []any{"a", 2}}),
		"args has 257 words; at most 256 are allowed": plea(arguments{"args": strings.Split(strings.Repeat("a ", 256), " ")}),
		"args has 16385 bytes at [0]; at most 16384":  plea(arguments{"args": []string{strings.Repeat("a", maxWord+1)}}),
		"there is no field \"ttl\"; the fields are":   plea(arguments{"ttl": 900}),
		"capability is \"a\\u202eb\"; allowed are":    plea(arguments{"capability": "a\u202eb"}),
	} {
		r := w.call("ask", wrong)
		words = strings.Replace(words, "20000000", "11000", 1)
		if w.expect(r, stateInvalid); !r.failed || !strings.Contains(r.Message, words) || len(r.text) > 700 {
			t.Errorf("want %s; got %s", words, r.text)
		}
	}
	for _, tool := range []string{"wait", "withdraw"} {
		w.expect(w.call(tool, arguments{"name": "Not a name"}), stateInvalid, "lower case letters, digits and dashes between them", "call "+tool+" again")
	}
	w.expect(w.call("wait", arguments{"name": "x", "timeout_seconds": 301}), stateInvalid, "a whole number from 1 to 300")
	w.expectChanges()
	if _, problems := check([]byte(`[1]`), nil); len(problems) != 1 {
		t.Errorf("a list is taken for arguments: %v", problems)
	}
	if in, problems := check([]byte(`{"a":null}`), []field{{name: "a", kind: text, most: 1}}); len(problems) != 0 || len(in) != 0 {
		t.Errorf("null is not taken for left out: %v, %v", in, problems)
	}
}

// TestTheLimitsAreThoseOfTheKinds: what passes here is not refused there for its form, and the other way round.
func TestTheLimitsAreThoseOfTheKinds(t *testing.T) {
	content, err := os.ReadFile("../../config/crd/valetkey.dev_capabilityrequests.yaml")
	if err != nil {
		t.Fatal(err)
	}
	type property struct {
		MinLength, MaxLength, Minimum, Maximum int
		Pattern                                string
		Rules                                  []struct{ Rule string } `json:"x-kubernetes-validations"`
		Properties                             map[string]property
	}
	var crd struct {
		Spec struct {
			Versions []struct {
				Schema struct{ OpenAPIV3Schema property }
			}
		}
	}
	if err := yaml.Unmarshal(content, &crd); err != nil {
		t.Fatal(err)
	}
	spec := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"].Properties
	fields := map[string]field{}
	for _, tool := range (&Server{}).tools() {
		for _, f := range tool.fields {
			if tool.name == "ask" {
				fields[f.name] = f
			}
		}
	}
	for name, theirs := range map[string]string{"capability": "capability", "repo": "repo", "environment": "environment", "task": "taskID", "justification": "justification"} {
		f, p := fields[name], spec[theirs]
		for _, r := range p.Rules {
			if form, ok := strings.CutPrefix(r.Rule, "self.matches('"); ok {
				p.Pattern = strings.TrimSuffix(form, "')")
			}
		}
		if f.most != p.MaxLength || f.pattern.String() != p.Pattern || (p.MinLength != 0 && f.least != p.MinLength) {
			t.Errorf("%s: %d to %d of %s; the kind takes %+v", name, f.least, f.most, f.pattern, p)
		}
	}
	if f, p := fields["ttl_seconds"], spec["ttlSeconds"]; f.least != p.Minimum || f.most != p.Maximum {
		t.Errorf("ttl_seconds: %d to %d; the kind takes %+v", f.least, f.most, p)
	}
	if !strings.Contains(string(content), "size(self.metadata.name) <= 54") || !strings.Contains(string(content), "matches('"+fields["name"].pattern.String()) {
		t.Error("a name is something else there")
	}
	if actors := regexp.MustCompile(spec["actor"].Pattern); !actors.MatchString("mcp") || spec["actor"].MaxLength != 128 {
		t.Error("an actor is something else there")
	}
}

func FuzzANameThatIsMadeUpIsAName(f *testing.F) {
	f.Add("publish-preview-build", "pr-184")
	f.Add(strings.Repeat("a.", 31)+"a", "A/#:@+-._b-"+strings.Repeat("-", 100)+"c")
	name := regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)
	fields := askFields(field{pattern: name}, field{})
	f.Fuzz(func(t *testing.T, capability, task string) {
		if !regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`).MatchString(capability) || !fields[3].pattern.MatchString(task) {
			t.Skip("the fields do not take these")
		}
		if got := nameFor(capability, task); len(got) > maxName || !name.MatchString(got) {
			t.Errorf("%q and %q make %q", capability, task, got)
		}
	})
}

// TestAskingTwiceIsAskingOnce: a client that lost the answer, or was ended half way, does not ask people twice.
func TestAskingTwiceIsAskingOnce(t *testing.T) {
	w := newWorld(t)
	w.asks(plea(), awaitsApproval)
	again := w.call("ask", plea(arguments{"justification": "in other words"}))
	w.expect(again, stateAwaiting)
	if again.Name != asking {
		t.Errorf("the second is %s", again.Name)
	}
	w.expectChanges("POST capabilityrequests", "POST jobs", "POST capabilityrequests")
	t.Run("but with another program it is another request", func(t *testing.T) {
		w := w.in(t)
		other := w.while("ask", plea(arguments{"args": []string{"other"}}), func() {
			w.awaitProgress("asked")
			w.clock.Step(firstWord)
		})
		if !strings.HasPrefix(other.Name, asking+"-") || len(other.Name) > maxName {
			t.Errorf("the other is %s", other.text)
		}
		w.job(other.Name)
	})
	t.Run("and for another environment too", func(t *testing.T) {
		w := w.in(t)
		other := w.while("ask", plea(arguments{"environment": "rehearsal"}), func() {
			w.awaitProgress("asked")
			w.clock.Step(firstWord)
		})
		if other.Name == asking {
			t.Errorf("the other is %s", other.text)
		}
	})
	t.Run("and a name that the agent chose is not given to another", func(t *testing.T) {
		w := w.in(t)
		w.expect(w.call("ask", plea(arguments{"args": []string{"third"}, "name": asking})), stateInvalid, "there is another request "+asking, "leave name out")
	})
	t.Run("and after it has ended it is asked anew", func(t *testing.T) {
		w := w.in(t)
		w.operator(asking, refuses(v1alpha1.ReasonDeniedByPerson, "no"))
		third := w.while("ask", plea(), func() {
			w.awaitProgress("asked")
			w.clock.Step(firstWord)
		})
		if third.Name == asking || third.State != stateAsked {
			t.Errorf("the third is %s", third.text)
		}
		fourth := w.while("ask", plea(), func() {
			w.awaitProgress("asked")
			w.clock.Step(firstWord)
		})
		if fourth.Name != third.Name {
			t.Errorf("asked for once more it is %s, and not %s", fourth.Name, third.Name)
		}
	})
}

func TestWhatWasAskedHalfWayIsCompleted(t *testing.T) {
	w := newWorld(t)
	w.while("ask", plea(), func() {
		w.awaitProgress("asked")
		w.clock.Step(firstWord)
	})
	if err := w.api.Delete(w.ctx, w.job(asking)); err != nil {
		t.Fatal(err)
	}
	w.asks(plea(), awaitsApproval)
	w.job(asking)
}

// TestAnotherOnesRequestIsNotTakenForOnesOwn: it has the same name by chance.
func TestAnotherOnesRequestIsNotTakenForOnesOwn(t *testing.T) {
	theirs := &v1alpha1.CapabilityRequest{}
	theirs.Namespace, theirs.Name = agents, asking
	theirs.Spec = v1alpha1.CapabilityRequestSpec{Capability: "publish-preview-build", TaskID: "pr-184", Repo: "web-app", Environment: "preview", Container: "step",
		Requester: v1alpha1.Identity{Username: "somebody else"}}
	w := newWorld(t, theirs)
	r := w.while("ask", plea(arguments{"ttl_seconds": nil}), func() {
		w.awaitProgress("asked")
		w.clock.Step(firstWord)
	})
	if r.Name == asking {
		t.Errorf("it took another's request: %s", r.text)
	}
}

func TestARequestWhoseJobIsRefusedIsWithdrawn(t *testing.T) {
	w := newWorld(t)
	w.api.refuse("POST jobs", forbidden("jobs", "ValidatingAdmissionPolicy 'valetkey-jobs' denied request: one request is one Pod"))
	r := w.call("ask", plea())
	w.expect(r, stateFailed, "the Job was not created", "one request is one Pod", "the request was withdrawn", "do what the rule says")
	if !r.failed || r.Rule != "an admission rule" || r.Asked == nil {
		t.Errorf("%s", r.text)
	}
	w.expectChanges("POST capabilityrequests", "POST jobs", "DELETE capabilityrequests/"+asking)
	t.Run("or it is said that it is not", func(t *testing.T) {
		w := w.in(t)
		w.api.refuse("DELETE capabilityrequests", forbidden("capabilityrequests", "no"))
		r := w.call("ask", plea())
		w.expect(r, stateFailed, "the Job was not created", "and request "+asking+" was not withdrawn", "without a Job the request times out by itself")
		if r.Name != asking {
			t.Errorf("it does not name what is left: %s", r.text)
		}
	})
}

// TestWhoeverHangsUpLeavesNoRequestWithoutAJob: as far as there is still time for it.
func TestWhoeverHangsUpLeavesNoRequestWithoutAJob(t *testing.T) {
	w := newWorld(t)
	calling, hangUp := context.WithCancel(w.ctx)
	w.api.before = map[string]func(*http.Request){"POST jobs": func(r *http.Request) {
		hangUp()
		<-r.Context().Done()
	}}
	w.api.refuse("POST jobs", context.Canceled)
	w.api.answers = make(chan string, 100)
	_, err := w.session.CallTool(calling, &sdk.CallToolParams{Name: "ask", Arguments: plea()})
	if err == nil {
		t.Error("nobody hung up")
	}
	for call := range w.api.answers {
		if strings.HasPrefix(call, "DELETE") && strings.HasSuffix(call, "/capabilityrequests/"+asking) {
			break
		}
	}
}

func TestWithoutTheCatalogueTheOperatorDecides(t *testing.T) {
	for _, resource := range []string{"capabilities", "capabilitypolicies"} {
		t.Run(resource, func(t *testing.T) {
			w := newWorld(t)
			w.api.refuse("GET "+resource, forbidden(resource, "no"))
			w.expect(w.call("ask", plea()), stateInvalid, "image is missing: the capability's steps are not known to you")
			r := w.while("ask", plea(arguments{"environment": "production", "image": image, "command": []string{"/publish-preview"}}), func() {
				w.awaitProgress("asked")
				w.operator(asking, func(r *v1alpha1.CapabilityRequest) {
					r.Status.Policy = &v1alpha1.PolicyReference{Name: "preview-builds", Generation: 3}
					refuses(v1alpha1.ReasonDeniedByPolicy, "policy preview-builds allows environments preview")(r)
				})
			})
			w.expect(r, stateRefused, "policy preview-builds allows environments preview", "you may not")
			if r.Rule != "policy preview-builds" || len(r.Unchecked) == 0 || !r.failed {
				t.Errorf("%s", r.text)
			}
			w.expectChanges("POST capabilityrequests", "POST jobs")
		})
	}
}

// TestThatNobodyTellsHowManyAreOutDoesNotMatter: limits do not refuse, so nothing that matters is unknown then.
func TestThatNobodyTellsHowManyAreOutDoesNotMatter(t *testing.T) {
	w := newWorld(t)
	edit(w, previews(), func(p *v1alpha1.CapabilityPolicy) {
		most := int32(1)
		p.Spec.Limits = &v1alpha1.Limits{Active: &most}
	})
	w.api.refuse("GET capabilitygrants", forbidden("capabilitygrants", "no"))
	w.expectRefusal(w.call("ask", plea(arguments{"repo": "payments"})), "policy preview-builds")
	w.expectChanges()
}

// TestErrorsArePassedOnWithWhatCanBeDone: in the API server's own words.
func TestErrorsArePassedOnWithWhatCanBeDone(t *testing.T) {
	requests := schema.GroupResource{Group: "valetkey.dev", Resource: "capabilityrequests"}
	for _, tt := range []struct {
		name  string
		err   error
		words []string
	}{
		{"no right", forbidden("capabilityrequests", `User "x" cannot create resource`), []string{`User \"x\" cannot create resource`, "ClusterRole valetkey-requester"}},
		{"a namespace that is not enrolled", forbidden("capabilityrequests", "ValidatingAdmissionPolicy 'valetkey-requests' denied request: this namespace is not enrolled"),
			[]string{"this namespace is not enrolled", "an admission rule"}},
		{"an old token", apierrors.NewUnauthorized("Unauthorized"), []string{"its token may have expired"}},
		{"what the kind does not take", apierrors.NewInvalid(schema.GroupKind{Kind: "CapabilityRequest"}, asking, nil), []string{"mend what the message names"}},
		{"too many at once", apierrors.NewTooManyRequests("slow down", 0), []string{"slow down", "try again"}},
		{"a conflict", apierrors.NewConflict(requests, asking, errors.New("busy")), []string{"try again"}},
		{"nobody there", errors.New("connection refused"), []string{"connection refused", "the way to the API server", "try again later"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.api.refuse("POST capabilityrequests", tt.err)
			r := w.call("ask", plea())
			w.expect(r, stateFailed, tt.words...)
			if !r.failed || r.Asked == nil || r.Rule == "" {
				t.Errorf("%s", r.text)
			}
			if err := w.api.Get(w.ctx, client.ObjectKey{Namespace: agents, Name: "valetkey-" + asking}, &v1alpha1.CapabilityRequest{}); err == nil {
				t.Error("something was made")
			}
		})
	}
	for _, tool := range []string{"capabilities", "ask", "status", "withdraw"} {
		t.Run("unknown to "+tool, func(t *testing.T) {
			w := newWorld(t)
			w.api.refuse("POST selfsubjectreviews", apierrors.NewUnauthorized("Unauthorized"))
			given := map[string]arguments{"ask": plea(), "withdraw": {"name": "x"}}[tool]
			if r := w.call(tool, given); !r.failed || !strings.Contains(r.Message, "asking the API server who you are: Unauthorized") {
				t.Errorf("%s", r.text)
			}
		})
	}
}
