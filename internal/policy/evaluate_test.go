// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

func TestAnAllowThatMatchesWholeGrants(t *testing.T) {
	const name = "preview-builds"
	run(t, []row{
		{
			name: "everything matches", given: func(*world) {},
			verdict: Allow, reason: v1alpha1.ReasonAllowed, policy: name, says: []string{"policy preview-builds allows it"},
		},
		{
			name: "a capability is named by a star", given: func(w *world) { w.preview().Capabilities = []string{"*"} },
			verdict: Allow, reason: v1alpha1.ReasonAllowed, policy: name,
		},
		{
			name: "the requester is named as a group",
			given: func(w *world) {
				w.preview().Requesters = []v1alpha1.Subject{{Kind: v1alpha1.SubjectGroup, Name: "system:serviceaccounts:agents"}}
			},
			verdict: Allow, reason: v1alpha1.ReasonAllowed, policy: name,
		},
		{
			name: "the requester is named as a user",
			given: func(w *world) {
				w.Request.Spec.Requester = v1alpha1.Identity{Username: "ci@example.com"}
				w.Job.Annotations[v1alpha1.AnnotationCreatedBy] = "ci@example.com"
				w.preview().Requesters = []v1alpha1.Subject{{Kind: v1alpha1.SubjectUser, Name: "ci@example.com"}}
			},
			verdict: Allow, reason: v1alpha1.ReasonAllowed, policy: name,
		},
		{
			name: "patterns match", given: func(w *world) {
				w.Capability.Spec.RepoParts = 2
				w.Request.Spec.Repo = "acme/web-app"
				w.preview().Repos, w.preview().Environments = []string{"other", "acme/web-*"}, []string{"pre*"}
			},
			verdict: Allow, reason: v1alpha1.ReasonAllowed, policy: name,
		},
		{
			name: "every expression is true", given: func(w *world) {
				w.preview().When = append(when("request.ttlSeconds <= 900", "fifteen minutes"), when("job.labels['team'] == 'web'", "the web team")...)
			},
			verdict: Allow, reason: v1alpha1.ReasonAllowed, policy: name,
		},
		{
			name: "the lifetime is just the longest", given: func(w *world) { w.preview().MaxTTLSeconds = ptr.To[int32](900) },
			verdict: Allow, reason: v1alpha1.ReasonAllowed, policy: name,
		},
		{
			name: "the request names no lifetime, and the default fits", given: func(w *world) {
				w.Request.Spec.TTLSeconds = nil
				w.preview().MaxTTLSeconds = ptr.To[int32](600)
			},
			verdict: Allow, reason: v1alpha1.ReasonAllowed, policy: name,
		},
		{
			name: "all risks are accepted", given: func(w *world) {
				w.Risks = []Risk{{v1alpha1.AcceptUnpinnedImage, "an image"}, {v1alpha1.AcceptSecretReader, "a reader"}}
				w.preview().Accept = []v1alpha1.Acceptance{v1alpha1.AcceptSecretReader, v1alpha1.AcceptUnpinnedImage}
			},
			verdict: Allow, reason: v1alpha1.ReasonAllowed, policy: name,
		},
		{
			name: "before the review, only the review is missing", given: func(w *world) { w.Digest = "" },
			verdict: Allow, reason: v1alpha1.ReasonAllowed, policy: name,
		},
		{
			name: "another Allow does not match", given: func(w *world) {
				p := allow("a-first")
				p.Spec.Repos = []string{"api"}
				w.add(p)
			},
			verdict: Allow, reason: v1alpha1.ReasonAllowed, policy: name,
		},
	})
}

func TestWhatDoesNotMatchIsRefusedWithWhatWouldHaveBeenAllowed(t *testing.T) {
	const name = "preview-builds"
	refused := func(name string, given func(w *world), says ...string) row {
		return row{name: name, given: given, verdict: Deny, reason: v1alpha1.ReasonDeniedByPolicy, policy: "preview-builds", says: says}
	}
	nobody := func(name string, given func(w *world), says ...string) row {
		return row{name: name, given: given, verdict: Deny, reason: v1alpha1.ReasonDeniedByPolicy, says: says}
	}
	run(t, []row{
		nobody("there is no policy", func(w *world) { w.policies = nil }, "no policy lets "+agent+" ask for publish-preview-build"),
		nobody("the policy is about another capability", func(w *world) { w.preview().Capabilities = []string{"publish-docs", "deploy"} },
			"no policy lets", "policies let this requester ask for publish-docs, deploy"),
		nobody("the policy is about another requester", func(w *world) { w.preview().Requesters[0].Name = "docs-bot" }, "no policy lets"),
		nobody("the same name in another namespace is another requester", func(w *world) { w.preview().Requesters[0].Namespace = "other" }, "no policy lets"),
		nobody("an Allow without requesters is for nobody", func(w *world) { w.preview().Requesters = nil }, "no policy lets"),
		nobody("an Allow without capabilities allows none", func(w *world) { w.preview().Capabilities = nil }, "no policy lets"),
		nobody("a subject of no known kind is nobody", func(w *world) { w.preview().Requesters[0].Kind = "Everybody" }, "no policy lets"),
		refused("an Allow without repos allows none", func(w *world) { w.preview().Repos = nil }, "allows repos"),
		refused("an Allow without environments allows none", func(w *world) { w.preview().Environments = nil }, "allows environments"),
		refused("the repo only begins with the allowed one", func(w *world) { w.Request.Spec.Repo = "web-app-attacker" }, "policy preview-builds allows repos web-app"),
		refused("the repo only ends with the allowed one", func(w *world) { w.Request.Spec.Repo = "my-web-app" }, "allows repos web-app"),
		refused("a star does not reach over a slash", func(w *world) {
			w.Capability.Spec.RepoParts = 3
			w.Request.Spec.Repo = "acme/evil/web-app"
			w.preview().Repos = []string{"acme/*"}
		}, "allows repos acme/*"),
		refused("the environment is another", func(w *world) { w.Request.Spec.Environment = "production" }, "allows environments preview"),
		refused("the namespace is another", func(w *world) { w.preview().Namespaces = []string{"ci"} }, "allows namespaces ci"),
		refused("the lifetime is one second too long", func(w *world) {
			w.Request.Spec.TTLSeconds = ptr.To[int32](901)
			w.preview().MaxTTLSeconds = ptr.To[int32](900)
		}, "policy preview-builds allows ttlSeconds up to 900"),
		refused("the lifetime is longer than the capability's", func(w *world) { w.Request.Spec.TTLSeconds = ptr.To[int32](3601) }, "allows ttlSeconds up to 3600"),
		refused("a policy cannot raise the capability's longest lifetime", func(w *world) {
			w.Request.Spec.TTLSeconds = ptr.To[int32](3601)
			w.preview().MaxTTLSeconds = ptr.To[int32](7200)
		}, "allows ttlSeconds up to 3600"),
		refused("the lifetime is nothing", func(w *world) { w.Request.Spec.TTLSeconds = ptr.To[int32](0) }, "allows ttlSeconds up to"),
		refused("an expression is false", func(w *world) { w.preview().When = when("request.ttlSeconds < 60", "a minute at most") }, "asks: a minute at most"),
		refused("one of two expressions is false", func(w *world) {
			w.preview().When = append(when("true", "anything"), when("false", "nothing at all")...)
		}, "asks: nothing at all"),
		refused("an expression fails as it runs", func(w *world) { w.preview().When = when("job.labels['squad'] == 'web'", "the web squad") },
			"cannot tell whether it matches", "no such key: squad"),
		refused("the policy is not valid", func(w *world) { w.preview().When = when("request.branch == 'main'", "main") },
			"is not valid, so it allows nothing", "undefined field 'branch'"),
		refused("a risk is not accepted", func(w *world) {
			w.Risks = []Risk{{v1alpha1.AcceptUnpinnedImage, "the image alpine of container publish is not named by digest"}}
			w.preview().Accept = []v1alpha1.Acceptance{v1alpha1.AcceptMutableInput}
		}, "does not accept UnpinnedImage: the image alpine"),
		refused("a job's risk beside the requester's own strength", func(w *world) {
			w.Risks = []Risk{{v1alpha1.AcceptUnpinnedImage, "an image"}, {v1alpha1.AcceptSecretReader, "may read Secrets"}}
		}, "does not accept UnpinnedImage", "does not accept SecretReader: may read Secrets"),
		refused("everything that does not match is told", func(w *world) {
			w.Request.Spec.Repo, w.Request.Spec.TTLSeconds = "api", ptr.To[int32](4000)
		}, "allows repos web-app, and allows ttlSeconds up to 3600"),
		refused("nobody could give the approvals that the capability asks for", func(w *world) { w.Capability.Spec.MinimumApproval = 2 },
			"names nobody who may give the 2 approvals that capability publish-preview-build asks for"),
		{
			name: "the requester may read Secrets", given: func(w *world) {
				w.Risks = []Risk{{v1alpha1.AcceptSecretReader, "ServiceAccount agents/web-app-bot may list Secrets"}}
			},
			verdict: Deny, reason: v1alpha1.ReasonRequesterTooStrong, policy: name, says: []string{"may list Secrets"},
		},
		{
			name: "the requester may approve", given: func(w *world) {
				w.Risks = []Risk{{v1alpha1.AcceptRequesterMayApprove, "it holds the verb approve"}}
			},
			verdict: Deny, reason: v1alpha1.ReasonRequesterTooStrong, policy: name, says: []string{"it holds the verb approve"},
		},
		{
			name: "the nearest policy is told first", given: func(w *world) {
				w.Request.Spec.TTLSeconds = ptr.To[int32](900)
				far, nearest := allow("a-far"), allow("z-near")
				far.Spec.Repos, nearest.Spec.MaxTTLSeconds = []string{"api"}, ptr.To[int32](300)
				w.preview().Environments, w.preview().Repos = []string{"test"}, []string{"docs"}
				w.add(far)
				w.add(nearest)
			},
			verdict: Deny, reason: v1alpha1.ReasonDeniedByPolicy, policy: "z-near",
			says: []string{"policy z-near allows ttlSeconds up to 300; policy a-far allows repos api; policy preview-builds allows repos docs"},
		},
		nobody("another requester's policies are not told", func(w *world) {
			w.preview().Requesters[0].Name, w.preview().Repos = "docs-bot", []string{"secret-project"}
		}, "no policy lets"),
		nobody("the request was never stamped", func(w *world) { w.Request.Spec.Requester = v1alpha1.Identity{} }, "create it again").as(v1alpha1.ReasonNotGuarded),
	})
}

func (tt row) as(reason string) row {
	tt.reason = reason
	return tt
}

func TestWhatMayBeAskedIsWhatSomePolicyAllowsThisRequester(t *testing.T) {
	w := newWorld()
	w.Capability = nil
	others, denied, broken, more := allow("others"), deny("denied"), allow("broken"), allow("more")
	others.Spec.Requesters[0].Name, others.Spec.Capabilities = "docs-bot", []string{"of-others"}
	denied.Spec.Capabilities = []string{"denied"}
	broken.Spec.Capabilities, broken.Spec.When = []string{"broken"}, when("request.", "x")
	more.Spec.Capabilities = []string{"a", "b", "c", "d", "e", "f", "a"}
	w.preview().Capabilities = []string{"a"}
	w.policies = append(w.policies, others, denied, broken, more)
	const want = `there is no capability "publish-preview-build"; policies let this requester ask for a, b, c, d, e and 1 more`
	if got := w.decide(t).Message; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

func TestMessagesAreWholeSentences(t *testing.T) {
	for _, tt := range []struct {
		want  string
		given func(w *world)
	}{
		{"policy preview-builds allows it", func(*world) {}},
		{"policy preview-builds allows it, approved by alice, bob", func(w *world) {
			w.needs(1)
			w.decides("alice", v1alpha1.DecisionApprove, 0)
			w.decides("bob", v1alpha1.DecisionApprove, 0)
		}},
		{"policy freeze denies it", func(w *world) { w.add(deny("freeze")) }},
		{"policy preview-builds allows repos a, b, c, d, e", func(w *world) { w.preview().Repos = []string{"a", "b", "c", "d", "e"} }},
		{"policy preview-builds allows repos a, b, c, d, e and 1 more", func(w *world) { w.preview().Repos = []string{"a", "b", "c", "d", "e", "f"} }},
		{"policy preview-builds waits for 2 approvals, from group release-managers", func(w *world) {
			w.needs(2)
			w.Digest = ""
		}},
		{"policy preview-builds asks for 1 approval by 2026-03-04T13:00:00Z, and 1 was missing; create another request", func(w *world) {
			w.needs(1)
			w.Now = noon().Add(time.Hour)
		}},
		{"policy preview-builds asks for 3 approvals by 2026-03-04T13:00:00Z, and 2 were missing; create another request", func(w *world) {
			w.needs(3)
			w.decides("alice", v1alpha1.DecisionApprove, 0)
			w.Now = noon().Add(time.Hour)
		}},
		{"policy preview-builds waits for 1 approval by 2026-03-04T13:00:00Z, from group release-managers, user alice, ServiceAccount ci/gate",
			func(w *world) {
				w.needs(1)
				w.preview().Approval.Approvers = append(w.preview().Approval.Approvers, v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: "alice"},
					v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Namespace: "ci", Name: "gate"})
			}},
	} {
		t.Run(tt.want, func(t *testing.T) {
			w := newWorld()
			tt.given(w)
			if got := w.decide(t).Message; got != tt.want {
				t.Errorf("%s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestPoliciesOfOthersAreNotTold(t *testing.T) {
	w := newWorld()
	w.preview().Requesters[0].Name, w.preview().Repos = "docs-bot", []string{"secret-project"}
	w.Request.Spec.TTLSeconds = ptr.To[int32](4000)
	if got := w.decide(t); strings.Contains(got.Message, "preview-builds") || strings.Contains(got.Message, "secret-project") {
		t.Errorf("the refusal tells of another requester's policy: %s", got.Message)
	}
}

func TestAMatchingDenyRefuses(t *testing.T) {
	refused := func(name string, given func(w *world), says ...string) row {
		return row{name: name, given: given, verdict: Deny, reason: v1alpha1.ReasonDeniedByPolicy, policy: "freeze", says: says}
	}
	allowed := func(name string, given func(w *world)) row {
		return row{name: name, given: given, verdict: Allow, reason: v1alpha1.ReasonAllowed, policy: "preview-builds"}
	}
	freeze := func(change func(s *v1alpha1.CapabilityPolicySpec)) func(w *world) {
		return func(w *world) {
			p := deny("freeze")
			change(&p.Spec)
			w.add(p)
		}
	}
	spec := func(change func(s *v1alpha1.CapabilityPolicySpec)) func(w *world) { return freeze(change) }
	run(t, []row{
		refused("a Deny that names nothing but capabilities is about everybody", freeze(func(*v1alpha1.CapabilityPolicySpec) {}), "policy freeze denies it"),
		refused("a Deny without capabilities is about all", spec(func(s *v1alpha1.CapabilityPolicySpec) { s.Capabilities = nil })),
		refused("a Deny of no known effect refuses", spec(func(s *v1alpha1.CapabilityPolicySpec) { s.Effect = "Audit" }), "is not valid"),
		refused("the requester's group is denied", spec(func(s *v1alpha1.CapabilityPolicySpec) {
			s.Requesters = []v1alpha1.Subject{{Kind: v1alpha1.SubjectGroup, Name: "system:serviceaccounts"}}
		})),
		refused("its expression is true", spec(func(s *v1alpha1.CapabilityPolicySpec) {
			s.When = when("request.environment == 'preview'", "previews are frozen until Monday")
		}), "policy freeze denies it: previews are frozen until Monday"),
		refused("its expression fails as it runs", spec(func(s *v1alpha1.CapabilityPolicySpec) {
			s.When = when("job.labels['squad'] == 'web'", "not the web squad")
		}), "one of its expressions failed", "no such key"),
		refused("its expression reaches a field that is not there", spec(func(s *v1alpha1.CapabilityPolicySpec) {
			s.When = when("dyn(request).branch == 'main'", "not main")
		}), "one of its expressions failed"),
		refused("its expression does not compile", spec(func(s *v1alpha1.CapabilityPolicySpec) { s.When = when("request.", "x") }), "because it is not valid"),
		refused("one of its expressions does not compile and another is false", spec(func(s *v1alpha1.CapabilityPolicySpec) {
			s.When = append(when("request.", "x"), when("false", "y")...)
		}), "because it is not valid"),
		refused("of several Denies the first by name is told", func(w *world) {
			w.add(deny("ice"))
			w.add(deny("freeze"))
			w.add(deny("zero"))
		}, "policy freeze denies it"),
		allowed("it is about another capability", spec(func(s *v1alpha1.CapabilityPolicySpec) { s.Capabilities = []string{"deploy"} })),
		allowed("it is about another requester", spec(func(s *v1alpha1.CapabilityPolicySpec) {
			s.Requesters = []v1alpha1.Subject{{Kind: v1alpha1.SubjectUser, Name: "mallory"}}
		})),
		allowed("it is about another namespace", spec(func(s *v1alpha1.CapabilityPolicySpec) { s.Namespaces = []string{"ci"} })),
		allowed("it is about another repo", spec(func(s *v1alpha1.CapabilityPolicySpec) { s.Repos = []string{"api"} })),
		allowed("it is about another environment", spec(func(s *v1alpha1.CapabilityPolicySpec) { s.Environments = []string{"production"} })),
		allowed("its expression is false", spec(func(s *v1alpha1.CapabilityPolicySpec) { s.When = when("request.ttlSeconds > 900", "long") })),
		allowed("its expression is false beside one that fails", spec(func(s *v1alpha1.CapabilityPolicySpec) {
			s.When = append(when("job.labels['squad'] == 'web'", "x"), when("false", "y")...)
		})),
		allowed("it does not compile, and its fields do not match", spec(func(s *v1alpha1.CapabilityPolicySpec) {
			s.Repos, s.When = []string{"api"}, when("request.", "x")
		})),
		refused("while the capability is not Ready", func(w *world) {
			w.CapabilityReady = false
			w.add(deny("freeze"))
		}),
		refused("while the Job is not there", func(w *world) {
			w.Job = nil
			w.add(deny("freeze"))
		}),
		refused("while an approval is awaited", func(w *world) {
			w.needs(1)
			w.add(deny("freeze"))
		}),
		refused("a grant that lives", func(w *world) {
			w.GrantedBy = "preview-builds"
			w.add(deny("freeze"))
		}),
		refused("a grant that lives, by an expression that fails", func(w *world) {
			w.GrantedBy = "preview-builds"
			freeze(func(s *v1alpha1.CapabilityPolicySpec) { s.When = when("job.labels['squad'] == 'web'", "x") })(w)
		}),
	})
}

func TestWhatCannotBeFoundOutOrIsAwaitedWaits(t *testing.T) {
	run(t, []row{
		{
			name: "there is no such capability", given: func(w *world) {
				w.Capability, w.Request.Spec.Capability = nil, "publish-preview"
				w.preview().Capabilities = []string{"deploy", "publish-docs", "publish-preview-build", "*"}
			},
			verdict: Deny, reason: v1alpha1.ReasonDeniedByPolicy,
			says: []string{`there is no capability "publish-preview"; policies let this requester ask for publish-preview-build, publish-docs, deploy`},
		},
		{
			name: "there is no such capability, and a star names none", given: func(w *world) {
				w.Capability = nil
				w.preview().Capabilities = []string{"*"}
			},
			verdict: Deny, reason: v1alpha1.ReasonDeniedByPolicy, says: []string{"there is no capability"},
		},
		{
			name: "the capability of a grant that lives was removed", given: func(w *world) { w.Capability, w.GrantedBy = nil, "preview-builds" },
			verdict: Deny, reason: v1alpha1.ReasonDeniedByPolicy, says: []string{"there is no capability"},
		},
		{
			name:    "the capability is being deleted, and something holds it",
			given:   func(w *world) { w.Capability.DeletionTimestamp, w.GrantedBy = leaving(), "preview-builds" },
			verdict: Deny, reason: v1alpha1.ReasonDeniedByPolicy, says: []string{`capability "publish-preview-build" is being deleted`},
		},
		{
			name:    "the policy is being deleted, and something holds it",
			given:   func(w *world) { w.policies[0].DeletionTimestamp, w.GrantedBy = leaving(), "preview-builds" },
			verdict: Deny, reason: v1alpha1.ReasonDeniedByPolicy, policy: "preview-builds", says: []string{"is being deleted, so it allows nothing"},
		},
		{
			name: "a Deny policy that is being deleted refuses until it is gone", given: func(w *world) {
				p := deny("freeze")
				p.DeletionTimestamp = leaving()
				w.add(p)
			},
			verdict: Deny, reason: v1alpha1.ReasonDeniedByPolicy, policy: "freeze", says: []string{"policy freeze denies it"},
		},
		{
			name: "the capability is not Ready", given: func(w *world) { w.CapabilityReady, w.CapabilityMessage = false, "its provider does not exist" },
			verdict: Indeterminate, reason: v1alpha1.ReasonIndeterminate,
			says: []string{"capability publish-preview-build is not Ready: its provider does not exist"},
		},
		{
			name: "the capability of a grant that lives is not Ready", given: func(w *world) { w.CapabilityReady, w.GrantedBy = false, "preview-builds" },
			verdict: Indeterminate, reason: v1alpha1.ReasonIndeterminate, says: []string{"is not Ready"},
		},
		{
			name: "the capability is not Ready, and no policy allows it", given: func(w *world) { w.CapabilityReady, w.policies = false, nil },
			verdict: Deny, reason: v1alpha1.ReasonDeniedByPolicy, says: []string{"no policy lets"},
		},
		{
			name: "the Job is not there", given: func(w *world) { w.Job = nil },
			verdict: Pending, reason: v1alpha1.ReasonAwaitingJob, says: []string{"Job valetkey-publish-pr-184 does not exist yet"},
		},
		{
			name: "the Job is not there, and an expression is about it", given: func(w *world) {
				w.Job = nil
				w.preview().When = when("job.labels['team'] == 'api'", "the api team")
			},
			verdict: Pending, reason: v1alpha1.ReasonAwaitingJob, says: []string{"does not exist yet"},
		},
		{
			name: "the Job is not there, and a Deny is about it", given: func(w *world) {
				w.Job = nil
				p := deny("freeze")
				p.Spec.When = when("job.labels['team'] == 'web'", "not the web team")
				w.add(p)
			},
			verdict: Pending, reason: v1alpha1.ReasonAwaitingJob, says: []string{"does not exist yet"},
		},
		{
			name: "the Job is not there, and a Deny that is about it has failed already", given: func(w *world) {
				w.Job = nil
				p := deny("freeze")
				p.Spec.When = append(when("job.labels['team'] == 'web'", "x"), when("dyn(request).branch == 'x'", "y")...)
				w.add(p)
			},
			verdict: Deny, reason: v1alpha1.ReasonDeniedByPolicy, policy: "freeze", says: []string{"failed"},
		},
		{
			name: "the Job is not there, and nothing about it could help", given: func(w *world) {
				w.Job = nil
				w.preview().When = append(when("job.labels['team'] == 'web'", "the web team"), when("request.actor == 'x'", "actor x")...)
			},
			verdict: Deny, reason: v1alpha1.ReasonDeniedByPolicy, policy: "preview-builds", says: []string{"asks: actor x"},
		},
		{
			name: "as many credentials work as may", given: func(w *world) {
				w.preview().Limits, w.Active = &v1alpha1.Limits{Active: ptr.To[int32](2)}, map[string]int{"preview-builds": 2}
			},
			verdict: Pending, reason: v1alpha1.ReasonLimitReached, policy: "preview-builds",
			says: []string{"policy preview-builds lets 2 credentials work at the same time, and 2 do"},
		},
		{
			name: "one more may work", given: func(w *world) {
				w.preview().Limits, w.Active = &v1alpha1.Limits{Active: ptr.To[int32](2)}, map[string]int{"preview-builds": 1, "other": 9}
			},
			verdict: Allow, reason: v1alpha1.ReasonAllowed, policy: "preview-builds",
		},
		{
			name: "the limit counts only once the approvals are there", given: func(w *world) {
				w.needs(1)
				w.preview().Limits, w.Active = &v1alpha1.Limits{Active: ptr.To[int32](1)}, map[string]int{"preview-builds": 1}
			},
			verdict: Pending, reason: v1alpha1.ReasonAwaitingApproval, policy: "preview-builds", missing: 1, recheck: noon().Add(3600e9),
		},
		{
			name: "the limit is reached after the approval, which is kept", given: func(w *world) {
				w.needs(1)
				w.decides("alice", v1alpha1.DecisionApprove, 60e9)
				w.preview().Limits, w.Active = &v1alpha1.Limits{Active: ptr.To[int32](1)}, map[string]int{"preview-builds": 1}
				w.Now = noon().Add(48 * 3600e9)
			},
			verdict: Pending, reason: v1alpha1.ReasonLimitReached, policy: "preview-builds", by: []string{"alice"},
		},
		{
			name: "the Job is larger than an expression may see", given: func(w *world) {
				w.preview().When = when("job.labels.all(k, k != 'x')", "no label x")
				for i := range 50_000 {
					w.Job.Labels[fmt.Sprint(i)] = ""
				}
			},
			verdict: Deny, reason: v1alpha1.ReasonJobRefused, says: []string{"50002 labels, of at most 64"},
		},
		{
			name: "the Job may not hold a credential", given: func(w *world) { w.Job.Spec.BackoffLimit = ptr.To[int32](6) },
			verdict: Deny, reason: v1alpha1.ReasonJobRefused, says: []string{"backoffLimit must be 0"},
		},
		{
			name: "the Job may not hold a credential, whatever the capability's state", given: func(w *world) {
				w.Job.Spec.BackoffLimit, w.CapabilityReady = ptr.To[int32](6), false
			},
			verdict: Deny, reason: v1alpha1.ReasonJobRefused, says: []string{"backoffLimit must be 0"},
		},
	})
}

func TestAGrantThatLivesIsLookedAtAgain(t *testing.T) {
	run(t, []row{
		{
			name: "its Job was started", given: func(w *world) {
				w.GrantedBy = "preview-builds"
				w.Job.Spec.Suspend, w.Job.Status.Active = ptr.To(false), 1
				w.Job.Spec.Template.Annotations = map[string]string{v1alpha1.AnnotationGrant: "uid"}
			},
			verdict: Allow, reason: v1alpha1.ReasonAllowed, policy: "preview-builds",
		},
		{
			name: "its Job finished", given: func(w *world) {
				w.GrantedBy = "preview-builds"
				w.Job.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}
			},
			verdict: Allow, reason: v1alpha1.ReasonAllowed, policy: "preview-builds",
		},
		{
			name: "until when people approved is not asked again", given: func(w *world) {
				w.GrantedBy, w.Approvals, w.Now = "preview-builds", 3, noon().Add(100*3600e9)
				w.needs(3)
			},
			verdict: Allow, reason: v1alpha1.ReasonAllowed, policy: "preview-builds",
		},
		{
			name: "fewer people approved than have to by now", given: func(w *world) {
				w.GrantedBy, w.Approvals = "preview-builds", 1
				w.needs(2)
			},
			verdict: Deny, reason: v1alpha1.ReasonDeniedByPolicy, policy: "preview-builds", says: []string{"policy preview-builds asks for 2 approvals, and 1 had been given"},
		},
		{
			name: "limits are not asked again", given: func(w *world) {
				w.GrantedBy = "preview-builds"
				w.preview().Limits, w.Active = &v1alpha1.Limits{Active: ptr.To[int32](1)}, map[string]int{"preview-builds": 5}
			},
			verdict: Allow, reason: v1alpha1.ReasonAllowed, policy: "preview-builds",
		},
		{
			name: "the Allow was withdrawn", given: func(w *world) { w.GrantedBy, w.policies = "preview-builds", nil },
			verdict: Deny, reason: v1alpha1.ReasonDeniedByPolicy, says: []string{"policy preview-builds, which allowed it, allows nothing any more"},
		},
		{
			name: "the Allow was withdrawn, and another matches", given: func(w *world) {
				w.GrantedBy = "preview-builds"
				w.policies[0].Name = "others"
			},
			verdict: Deny, reason: v1alpha1.ReasonDeniedByPolicy, says: []string{"policy preview-builds, which allowed it, allows nothing any more"},
		},
		{
			name: "the Allow does not accept what another does", given: func(w *world) {
				w.GrantedBy, w.Risks = "preview-builds", []Risk{{v1alpha1.AcceptSecretReader, "bot may read Secrets"}}
				other := allow("another")
				other.Spec.Accept = []v1alpha1.Acceptance{v1alpha1.AcceptSecretReader}
				w.add(other)
			},
			verdict: Deny, reason: v1alpha1.ReasonRequesterTooStrong, policy: "preview-builds", says: []string{"policy preview-builds does not accept SecretReader"},
		},
		{
			name: "the Allow became a Deny", given: func(w *world) {
				w.GrantedBy = "preview-builds"
				w.preview().Effect = v1alpha1.EffectDeny
			},
			verdict: Deny, reason: v1alpha1.ReasonDeniedByPolicy, policy: "preview-builds", says: []string{"policy preview-builds denies it"},
		},
		{
			name: "the Allow was withdrawn while the capability is not Ready", given: func(w *world) {
				w.GrantedBy, w.CapabilityReady, w.policies = "preview-builds", false, nil
			},
			verdict: Deny, reason: v1alpha1.ReasonDeniedByPolicy, says: []string{"allows nothing any more"},
		},
		{
			name: "the Allow was narrowed", given: func(w *world) { w.GrantedBy, w.preview().Repos = "preview-builds", []string{"api"} },
			verdict: Deny, reason: v1alpha1.ReasonDeniedByPolicy, policy: "preview-builds", says: []string{"allows repos api"},
		},
		{
			name: "the Allow's longest lifetime was shortened", given: func(w *world) { w.GrantedBy, w.preview().MaxTTLSeconds = "preview-builds", ptr.To[int32](60) },
			verdict: Deny, reason: v1alpha1.ReasonDeniedByPolicy, policy: "preview-builds", says: []string{"ttlSeconds up to 60"},
		},
		{
			name: "a risk is no longer accepted", given: func(w *world) {
				w.GrantedBy, w.Risks = "preview-builds", []Risk{{v1alpha1.AcceptMutableInput, "volume v is Secret s"}}
			},
			verdict: Deny, reason: v1alpha1.ReasonDeniedByPolicy, policy: "preview-builds", says: []string{"MutableInput"},
		},
		{
			name: "its step is no longer one of the capability's", given: func(w *world) {
				w.GrantedBy, w.Capability.Spec.Runner = "preview-builds", []v1alpha1.Runner{{Image: image, Command: []string{"/bin/other"}}}
			},
			verdict: Deny, reason: v1alpha1.ReasonJobRefused, says: []string{"differs from runner[0]: command"},
		},
		{
			name: "somebody denied it late", given: func(w *world) {
				w.GrantedBy = "preview-builds"
				w.decides("carol", v1alpha1.DecisionDeny, 24*3600e9).Reason = "wrong branch"
			},
			verdict: Deny, reason: v1alpha1.ReasonDeniedByPerson, says: []string{"carol denied it: wrong branch"},
		},
		{
			name: "its Job is gone, which is for the lifecycle to say", given: func(w *world) { w.GrantedBy, w.Job = "preview-builds", nil },
			verdict: Pending, reason: v1alpha1.ReasonAwaitingJob, says: []string{"does not exist"},
		},
	})
}

func TestAmongMatchingAllowsTheLeastDemandingHolds(t *testing.T) {
	ask := func(p *v1alpha1.CapabilityPolicy, required int32) *v1alpha1.CapabilityPolicy {
		p.Spec.Approval = &v1alpha1.Approval{
			Required: required, TimeoutSeconds: 60, Approvers: []v1alpha1.Subject{{Kind: v1alpha1.SubjectUser, Name: "dave"}},
		}
		return p
	}
	soon := noon().Add(60e9)
	inTime := func(w *world) { w.Now = noon() }
	run(t, []row{
		{
			name: "none is less than two", given: func(w *world) { inTime(w); w.add(ask(allow("a"), 2)) },
			verdict: Allow, reason: v1alpha1.ReasonAllowed, policy: "preview-builds",
		},
		{
			name: "one is less than two", given: func(w *world) {
				inTime(w)
				w.policies = []*v1alpha1.CapabilityPolicy{ask(allow("a"), 2), ask(allow("b"), 1)}
			},
			verdict: Pending, reason: v1alpha1.ReasonAwaitingApproval, policy: "b", missing: 1, recheck: soon,
		},
		{
			name: "of equals, the first by name", given: func(w *world) {
				inTime(w)
				w.policies = []*v1alpha1.CapabilityPolicy{ask(allow("b"), 1), ask(allow("a"), 1), ask(allow("c"), 1)}
			},
			verdict: Pending, reason: v1alpha1.ReasonAwaitingApproval, policy: "a", missing: 1, recheck: soon,
		},
		{
			name: "the capability's minimum makes equals of them", given: func(w *world) {
				inTime(w)
				w.Capability.Spec.MinimumApproval = 3
				w.policies = []*v1alpha1.CapabilityPolicy{ask(allow("b"), 0), ask(allow("a"), 2)}
			},
			verdict: Pending, reason: v1alpha1.ReasonAwaitingApproval, policy: "a", missing: 3, recheck: soon,
		},
		{
			name: "one that names no approvers cannot meet the capability's minimum, another can", given: func(w *world) {
				inTime(w)
				w.Capability.Spec.MinimumApproval = 1
				w.add(ask(allow("strict"), 2))
			},
			verdict: Pending, reason: v1alpha1.ReasonAwaitingApproval, policy: "strict", missing: 2, recheck: soon,
		},
	})
}

func TestALongMessageIsCutBetweenCharacters(t *testing.T) {
	w := newWorld()
	for i := range maxListed {
		p := allow(fmt.Sprint("p", i))
		p.Spec.When = when("false", strings.Repeat("日本", 79)+fmt.Sprint(i))
		w.policies = append(w.policies[:i], p)
	}
	got := w.decide(t).Message
	if len(got) > maxMessageLength || !utf8.ValidString(got) || !strings.HasSuffix(got, "…") {
		t.Errorf("%d bytes, valid %v: %s", len(got), utf8.ValidString(got), got)
	}
}
