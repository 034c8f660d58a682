// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

func TestApprovalsAreCounted(t *testing.T) {
	const name = "preview-builds"
	hour := noon().Add(time.Hour)
	approve := v1alpha1.DecisionApprove
	allowed := func(name string, by []string, given func(w *world)) row {
		return row{name: name, given: given, verdict: Allow, reason: v1alpha1.ReasonAllowed, policy: "preview-builds", by: by}
	}
	waits := func(name string, missing int32, by []string, given func(w *world)) row {
		return row{
			name: name, given: given, verdict: Pending, reason: v1alpha1.ReasonAwaitingApproval, policy: "preview-builds",
			missing: missing, by: by, recheck: hour,
		}
	}
	run(t, []row{
		allowed("one is needed and given", []string{"alice"}, func(w *world) {
			w.needs(1)
			w.decides("alice", approve, time.Minute)
		}),
		allowed("two are needed and three given", []string{"alice", "bob", "zoe"}, func(w *world) {
			w.needs(2)
			for _, who := range []string{"zoe", "alice", "bob"} {
				w.decides(who, approve, time.Minute)
			}
		}),
		allowed("it was seen one second before the timeout, and is looked at a day later", []string{"alice"}, func(w *world) {
			w.needs(1)
			w.decides("alice", approve, time.Hour-time.Second)
			w.Now = noon().Add(24 * time.Hour)
		}),
		allowed("a person is named as a user", []string{"alice"}, func(w *world) {
			w.needs(1)
			w.preview().Approval.Approvers = []v1alpha1.Subject{{Kind: v1alpha1.SubjectUser, Name: "alice"}}
			w.decides("alice", approve, 0).Groups = nil
		}),
		allowed("a ServiceAccount is named as one", []string{"system:serviceaccount:ci:gate"}, func(w *world) {
			w.needs(1)
			w.preview().Approval.Approvers = []v1alpha1.Subject{{Kind: v1alpha1.SubjectServiceAccount, Namespace: "ci", Name: "gate"}}
			w.decides("system:serviceaccount:ci:gate", approve, 0).Groups = nil
		}),
		allowed("none is needed, so none is told", nil, func(w *world) {
			w.needs(0)
			w.decides("alice", approve, time.Minute)
		}),
		waits("none is given", 2, nil, func(w *world) { w.needs(2) }),
		waits("one of two is given", 1, []string{"alice"}, func(w *world) {
			w.needs(2)
			w.decides("alice", approve, time.Minute)
		}),
		waits("the capability asks for more than the policy", 1, []string{"alice"}, func(w *world) {
			w.needs(1)
			w.Capability.Spec.MinimumApproval = 2
			w.decides("alice", approve, time.Minute)
		}),
		waits("it names another digest", 1, nil, func(w *world) {
			w.needs(1)
			w.decides("alice", approve, time.Minute).Digest = otherDigest
		}),
		waits("it was seen for another digest", 1, nil, func(w *world) {
			w.needs(1)
			w.decides("alice", approve, time.Minute)
			w.Seen[0].Digest = otherDigest
		}),
		waits("it was never seen", 1, nil, func(w *world) {
			w.needs(1)
			w.decides("alice", approve, time.Minute)
			w.Seen = nil
		}),
		waits("a denial was seen where an approval now stands", 1, nil, func(w *world) {
			w.needs(1)
			w.decides("alice", approve, time.Minute)
			w.Seen[0].Decision = v1alpha1.DecisionDeny
		}),
		waits("it was seen, and is there no more", 1, nil, func(w *world) {
			w.needs(1)
			w.decides("alice", approve, time.Minute)
			w.Request.Decisions = nil
		}),
		waits("somebody else's was seen", 1, nil, func(w *world) {
			w.needs(1)
			w.decides("alice", approve, time.Minute)
			w.Seen[0].By = "bob"
		}),
		waits("the policy names nobody of that name or group", 1, nil, func(w *world) {
			w.needs(1)
			w.decides("mallory", approve, time.Minute).Groups = []string{"system:authenticated"}
		}),
		waits("the approver of a sibling policy approves", 1, nil, func(w *world) {
			w.needs(1)
			sibling := allow("sibling")
			sibling.Spec.Approval = &v1alpha1.Approval{
				Required: 1, TimeoutSeconds: 3600, Approvers: []v1alpha1.Subject{{Kind: v1alpha1.SubjectUser, Name: "sam"}},
			}
			w.add(sibling)
			w.decides("sam", approve, time.Minute).Groups = nil
		}),
		waits("the requester approves", 1, nil, func(w *world) {
			w.needs(1)
			w.preview().Approval.Approvers = append(w.preview().Approval.Approvers,
				v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Namespace: "agents", Name: "web-app-bot"})
			w.decides(agent, approve, time.Minute)
		}),
		waits("the requester approves by a name in another case", 1, nil, func(w *world) {
			w.needs(1)
			w.preview().Requesters[0] = v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: "alice@example.com"}
			w.Request.Spec.Requester = v1alpha1.Identity{Username: "alice@example.com"}
			w.Job.Annotations[v1alpha1.AnnotationCreatedBy] = "alice@example.com"
			w.decides("Alice@Example.com", approve, time.Minute)
		}),
		waits("the requester approves by an alias with the same uid", 1, nil, func(w *world) {
			w.needs(1)
			w.decides("alias", approve, time.Minute).UID = "agent-uid"
		}),
		waits("one person approves by two names with the same uid", 1, []string{"alice"}, func(w *world) {
			w.needs(2)
			w.decides("alice", approve, time.Minute).UID = "u1"
			w.decides("alice-admin", approve, time.Minute).UID = "u1"
		}),
		waits("one person approves by two cases of a name", 1, []string{"alice"}, func(w *world) {
			w.needs(2)
			w.decides("alice", approve, time.Minute)
			w.decides("Alice", approve, time.Minute)
		}),
		waits("the same entry stands there twice", 1, []string{"alice"}, func(w *world) {
			w.needs(2)
			w.decides("alice", approve, time.Minute)
			w.decides("alice", approve, time.Minute)
		}),
		waits("a ServiceAccount is in the approvers' group", 1, nil, func(w *world) {
			w.needs(1)
			w.preview().Approval.Approvers = []v1alpha1.Subject{{Kind: v1alpha1.SubjectGroup, Name: "system:authenticated"}}
			w.decides("system:serviceaccount:ci:front-end", approve, time.Minute)
		}),
		waits("a ServiceAccount is named as a user", 1, nil, func(w *world) {
			w.needs(1)
			w.preview().Approval.Approvers = []v1alpha1.Subject{{Kind: v1alpha1.SubjectUser, Name: "system:serviceaccount:ci:gate"}}
			w.decides("system:serviceaccount:ci:gate", approve, time.Minute)
		}),
		{
			name: "before the review there is nothing to approve", given: func(w *world) {
				w.needs(1)
				w.Digest, w.ReviewedAt = "", time.Time{}
				w.decides("alice", approve, time.Minute).Digest = ""
				w.Seen[0].Digest = ""
			},
			verdict: Pending, reason: v1alpha1.ReasonAwaitingApproval, policy: name, missing: 1, says: []string{"waits for 1 approval, from"},
		},
	})
}

func TestTheTimeoutIsFinal(t *testing.T) {
	const name = "preview-builds"
	timedOut := func(title string, missing int32, by []string, given func(w *world)) row {
		return row{
			name: title, given: given, verdict: Deny, reason: v1alpha1.ReasonApprovalTimedOut, policy: name, missing: missing, by: by,
			says: []string{"by 2026-03-04T13:00:00Z", "create another request"},
		}
	}
	run(t, []row{
		timedOut("nobody approved, and the last second is over", 1, nil, func(w *world) {
			w.needs(1)
			w.Now = noon().Add(time.Hour)
		}),
		timedOut("an approval comes in the very second of the timeout", 1, nil, func(w *world) {
			w.needs(1)
			w.decides("alice", v1alpha1.DecisionApprove, time.Hour)
			w.Now = noon().Add(time.Hour)
		}),
		timedOut("an approval comes a day late", 1, nil, func(w *world) {
			w.needs(1)
			w.decides("alice", v1alpha1.DecisionApprove, 25*time.Hour)
			w.Now = noon().Add(25 * time.Hour)
		}),
		timedOut("one of two came in time, the other late", 1, []string{"alice"}, func(w *world) {
			w.needs(2)
			w.decides("alice", v1alpha1.DecisionApprove, time.Minute)
			w.decides("bob", v1alpha1.DecisionApprove, 2*time.Hour)
			w.Now = noon().Add(2 * time.Hour)
		}),
		timedOut("an approval was given in time and never seen", 1, nil, func(w *world) {
			w.needs(1)
			w.decides("alice", v1alpha1.DecisionApprove, time.Minute)
			w.Seen, w.Now = nil, noon().Add(2*time.Hour)
		}),
		{
			name: "a nanosecond is left", given: func(w *world) {
				w.needs(1)
				w.Now = noon().Add(time.Hour - 1)
			},
			verdict: Pending, reason: v1alpha1.ReasonAwaitingApproval, policy: name, missing: 1, recheck: noon().Add(time.Hour),
		},
	})
}

func TestADenialByAPersonOutweighsAll(t *testing.T) {
	denied := func(name string, given func(w *world), says ...string) row {
		return row{name: name, given: given, verdict: Deny, reason: v1alpha1.ReasonDeniedByPerson, says: says}
	}
	run(t, []row{
		denied("beside any number of approvals", func(w *world) {
			w.needs(1)
			for i := range 9 {
				w.decides(fmt.Sprint("person-", i), v1alpha1.DecisionApprove, 0)
			}
			w.decides("carol", v1alpha1.DecisionDeny, 0).Reason = "not today"
		}, "carol denied it: not today"),
		denied("by somebody whom no policy names", func(w *world) { w.decides("carol", v1alpha1.DecisionDeny, 0).Groups = nil }, "carol denied it"),
		denied("not seen yet", func(w *world) {
			w.decides("carol", v1alpha1.DecisionDeny, 0)
			w.Seen = nil
		}),
		denied("after the timeout", func(w *world) {
			w.needs(1)
			w.decides("alice", v1alpha1.DecisionApprove, 0)
			w.decides("carol", v1alpha1.DecisionDeny, 2*time.Hour)
			w.Now = noon().Add(2 * time.Hour)
		}),
		denied("by the requester", func(w *world) { w.decides(agent, v1alpha1.DecisionDeny, 0) }),
		{
			name: "but not of another digest", given: func(w *world) { w.decides("carol", v1alpha1.DecisionDeny, 0).Digest = otherDigest },
			verdict: Allow, reason: v1alpha1.ReasonAllowed, policy: "preview-builds",
		},
	})
}

func TestManyApproversAreNotAllTold(t *testing.T) {
	w := newWorld()
	w.needs(1)
	for i := range 60 {
		w.preview().Approval.Approvers = append(w.preview().Approval.Approvers,
			v1alpha1.Subject{Kind: v1alpha1.SubjectGroup, Name: fmt.Sprint("team-", i)})
	}
	const want = "from group release-managers, group team-0, group team-1, group team-2, group team-3 and 56 more"
	if got := w.decide(t); !strings.HasSuffix(got.Message, want) {
		t.Errorf("want %q in %s", want, got.Message)
	}
}

const employee = "example.com/employee-id"

// as says by which employee numbers an authenticator knows a person.
func as(numbers ...string) map[string]v1alpha1.ExtraValue {
	return map[string]v1alpha1.ExtraValue{employee: numbers, "example.com/office": {"Zürich"}}
}

func TestThePersonUnderAnotherNameIsTheSamePerson(t *testing.T) {
	// decided are the approvals of the names, each with its extra; two are needed.
	decided := func(extras map[string]map[string]v1alpha1.ExtraValue, names ...string) func(w *world) {
		return func(w *world) {
			w.IdentityExtraKey = employee
			w.needs(2)
			w.Request.Spec.Requester.Extra = extras[agent]
			for _, name := range names {
				w.decides(name, v1alpha1.DecisionApprove, time.Minute).Extra = extras[name]
			}
		}
	}
	waits := func(name string, by []string, given func(w *world), says ...string) row {
		return row{name: name, given: given, verdict: Pending, reason: v1alpha1.ReasonAwaitingApproval, policy: "preview-builds",
			missing: 2 - int32(len(by)), by: by, recheck: noon().Add(time.Hour), says: says}
	}
	allowed := func(name string, given func(w *world)) row {
		return row{name: name, given: given, verdict: Allow, reason: v1alpha1.ReasonAllowed, policy: "preview-builds", by: []string{"alice", "bob"}}
	}
	type extras = map[string]map[string]v1alpha1.ExtraValue
	run(t, []row{
		waits("two names, one number", []string{"alice"}, decided(extras{"alice": as("7"), "bob": as("7")}, "alice", "bob"),
			"not counted: bob is alice under another name, and one person counts once"),
		waits("the requester's number", []string{"bob"}, decided(extras{agent: as("7"), "alice": as("7"), "bob": as("8")}, "alice", "bob"),
			"not counted: alice is the requester under another name, and nobody approves their own request"),
		waits("one number of several", []string{"alice"}, decided(extras{"alice": as("7", "70"), "bob": as("8", "70")}, "alice", "bob"), "bob is alice"),
		waits("a number in another case, with a space", []string{"alice"}, decided(extras{"alice": as("e-7"), "bob": as(" E-7")}, "alice", "bob"), "bob is alice"),
		waits("a key in another case", []string{"alice"}, decided(extras{"alice": as("7"), "bob": {"Example.com/Employee-ID": {"7"}}}, "alice", "bob"), "bob is alice"),
		waits("two who are one with a third who denied nothing and approved something else", []string{"alice"}, func(w *world) {
			decided(extras{"alice": as("7"), "bob": as("8"), "carol": as("7", "8")}, "alice", "bob", "carol")(w)
			w.Request.Decisions[2].Digest = otherDigest
		}, "bob is alice"),
		waits("a name in another case that has the other's number", []string{"alice"},
			decided(extras{"alice": as("7"), "bob": as("8"), "Bob": as("7")}, "alice", "bob", "Bob"), "bob is alice", "Bob is alice"),
		waits("the requester's number, of a person who has none, by the uid of one who has", nil, func(w *world) {
			decided(extras{agent: as("7"), "alice": as("7")}, "alice", "bob")(w)
			w.Request.Decisions[0].UID, w.Request.Decisions[1].UID = "u", "u"
		}, "alice is the requester", "bob is the requester"),
		allowed("two numbers", decided(extras{agent: as("9"), "alice": as("7"), "bob": as("8")}, "alice", "bob")),
		allowed("only one has a number", decided(extras{agent: as("9"), "alice": as("7")}, "alice", "bob")),
		allowed("nobody has a number", decided(nil, "alice", "bob")),
		allowed("empty numbers are none", decided(extras{agent: as(""), "alice": as("", " "), "bob": as("")}, "alice", "bob")),
		allowed("a number is not a uid", func(w *world) {
			decided(extras{"alice": as("7")}, "alice", "bob")(w)
			w.Request.Decisions[1].UID = "7"
		}),
		allowed("what is equal stands under another key", func(w *world) {
			decided(extras{agent: as("7"), "alice": as("7"), "bob": as("7")}, "alice", "bob")(w)
			w.IdentityExtraKey = "example.com/badge"
		}),
		allowed("no key is set", func(w *world) {
			decided(extras{agent: as("7"), "alice": as("7"), "bob": as("7")}, "alice", "bob")(w)
			w.IdentityExtraKey = ""
		}),
	})
}

func TestAnApprovalThatDoesNotCountIsSaidNotTo(t *testing.T) {
	for who, words := range map[string]string{
		"mallory":                            "not counted: mallory is no approver of this policy",
		"system:serviceaccount:ci:front-end": "is no approver of this policy, which takes a ServiceAccount only where it names it as one",
	} {
		w := newWorld()
		w.needs(1)
		w.decides(who, v1alpha1.DecisionApprove, time.Minute).Groups = nil
		if got := w.decide(t); !strings.Contains(got.Message, words) {
			t.Errorf("want %q in %s", words, got.Message)
		}
		w.Now = noon().Add(2 * time.Hour)
		if got := Evaluate(w.Facts); got.Reason != v1alpha1.ReasonApprovalTimedOut || !strings.Contains(got.Message, words) {
			t.Errorf("want %q in %s: %s", words, got.Reason, got.Message)
		}
	}
}

func TestAnAliasOfAnAliasIsTheSamePerson(t *testing.T) {
	type mark struct{ name, uid string }
	all := []mark{{"alice", "1"}, {"ALICE", "2"}, {"al", "2"}, {"Al", ""}, {"other", "1"}, {"bob", ""}, {"carol", ""}}
	for first := range all { // in whatever order they are met
		p := people{}
		for i := range all {
			m := all[(first+i*3)%len(all)]
			p.meet(m.name, m.uid, nil)
		}
		for _, m := range all[:5] {
			if p.person(m.name) != p.person("alice") {
				t.Errorf("from %d, %v was taken for somebody else", first, m)
			}
		}
		if p.person("bob") == p.person("carol") || p.person("bob") == p.person("alice") {
			t.Error("people without a uid were taken for one person")
		}
	}
}

func TestAnApprovalSeenInTheLastSecondCountsAsItIsStored(t *testing.T) {
	w := newWorld()
	w.needs(1)
	w.decides("alice", v1alpha1.DecisionApprove, 0)
	w.Seen[0].SeenAt = metav1.NewTime(noon().Add(time.Hour - time.Nanosecond)).Rfc3339Copy()
	if got := w.decide(t); got.Verdict != Allow {
		t.Errorf("%s: %s", got.Verdict, got.Message)
	}
}
