// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// stored is a request that is there already.
func stored(name string, edits ...func(*v1alpha1.CapabilityRequest)) *v1alpha1.CapabilityRequest {
	r := &v1alpha1.CapabilityRequest{ObjectMeta: metav1.ObjectMeta{Namespace: agents, Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(noon())},
		Spec: v1alpha1.CapabilityRequestSpec{Capability: "publish-preview-build", TaskID: "pr-184", Repo: "web-app", Environment: "preview",
			TTLSeconds: ptr.To[int32](900), Container: "step", Requester: v1alpha1.Identity{Username: agent}}}
	for _, edit := range edits {
		edit(r)
	}
	return r
}

func TestWaitGoesOnUntilAPersonIsNeeded(t *testing.T) {
	w := newWorld(t, stored("x"))
	r := w.while("wait", arguments{"name": "x"}, func() {
		w.awaitProgress("asked")
		w.operator("x", decides(v1alpha1.ReasonLimitReached, "policy preview-builds lets 2 credentials work at the same time, and 2 do"))
		w.awaitProgress("waiting: policy preview-builds lets 2 credentials work")
		w.operator("x", awaitsApproval)
	})
	w.expect(r, stateAwaiting, "show a person the command approve", digest)
	t.Run("and, once that is known, until they have decided", func(t *testing.T) {
		w := w.in(t)
		r := w.while("wait", arguments{"name": "x"}, func() {
			w.awaitProgress("awaiting_approval: policy preview-builds waits for 1 approval")
			w.operator("x", refuses(v1alpha1.ReasonDeniedByPerson, "alice@example.com denied it: not before Monday"))
		})
		w.expect(r, stateRefused, "not before Monday", "do not ask for the same again")
	})
	t.Run("and of what has ended it says so at once", func(t *testing.T) {
		w := w.in(t)
		w.expect(w.call("wait", arguments{"name": "x"}), stateRefused)
	})
}

func TestWaitTellsHowItStandsWhenTheTimeIsUp(t *testing.T) {
	w := newWorld(t, stored("x"))
	for _, timeout := range []int{0, 300} {
		given, seconds := arguments{"name": "x"}, defaultTimeout
		if timeout > 0 {
			given["timeout_seconds"], seconds = timeout, timeout
		}
		r := w.while("wait", given, func() {
			w.awaitProgress("asked")
			w.clock.Step(time.Duration(seconds) * time.Second)
		})
		w.expect(r, stateAsked, "the operator has not decided since", "it may be away", "tell a person, then call wait")
	}
}

// TestWhoeverWaitsHearsOfItNowAndThen: without asking the API server again.
func TestWhoeverWaitsHearsOfItNowAndThen(t *testing.T) {
	w := newWorld(t, stored("x"))
	w.while("wait", arguments{"name": "x"}, func() {
		w.awaitProgress("asked")
		before := len(w.api.seen())
		for range 3 {
			w.clock.Step(sign)
			w.awaitProgress("asked")
		}
		if after := len(w.api.seen()); after != before {
			t.Errorf("it called %v", w.api.seen()[before:])
		}
		w.operator("x", awaitsApproval)
	})
}

func TestAJobThatWasNeverMadeIsSaidToBeMissing(t *testing.T) {
	w := newWorld(t, stored("x", decides(v1alpha1.ReasonAwaitingJob, "create the Job valetkey-x in this namespace")))
	if r := w.call("status", arguments{"name": "x"}); r.State != stateAsked || r.Message != "" || r.Next != "call wait" {
		t.Errorf("%s", r.text)
	}
	w.clock.Step(slow + 1)
	w.expect(w.call("status", arguments{"name": "x"}), stateAsked, "its Job was never made", "call ask again with the same")
}

// TestWhatHasNotChangedIsNotToldAgain: as far as a client is concerned that hears of every change.
func TestWhatHasNotChangedIsNotToldAgain(t *testing.T) {
	w := newWorld(t, stored("x"))
	w.api.answers = make(chan string, 100)
	w.while("wait", arguments{"name": "x"}, func() {
		w.awaitProgress("asked")
		w.operator("x", func(r *v1alpha1.CapabilityRequest) {
			r.Status.Policy = &v1alpha1.PolicyReference{Name: "preview-builds"}
		})
		for looks := 0; looks < 2; {
			if call := <-w.api.answers; strings.HasPrefix(call, "GET") && strings.HasSuffix(call, "/capabilitygrants/x") {
				looks++
			}
		}
		w.operator("x", awaitsApproval)
		if said := <-w.progress; !strings.HasPrefix(said, "awaiting_approval") {
			t.Errorf("it says again: %s", said)
		}
	})
}

func TestWaitingEndsWithTheRequest(t *testing.T) {
	w := newWorld(t, stored("x"))
	r := w.while("wait", arguments{"name": "x"}, func() {
		w.awaitProgress("asked")
		if err := w.api.Delete(w.ctx, stored("x")); err != nil {
			t.Error(err)
		}
	})
	w.expect(r, stateAbsent, "there is no request x in namespace agents", "call status without a name")
	if !r.failed {
		t.Error("it is told as if it had been found")
	}
	for _, tool := range []string{"wait", "status", "withdraw"} {
		if r := w.call(tool, arguments{"name": "never"}); r.State != stateAbsent || !r.failed {
			t.Errorf("%s: %s", tool, r.text)
		}
	}
}

// TestAWatchThatEndsEndsTheWait: the agent calls again, and nothing runs in circles.
func TestAWatchThatEndsEndsTheWait(t *testing.T) {
	for _, kind := range []string{"capabilityrequests", "capabilitygrants"} {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t, stored("x"))
			w.api.cut = kind
			w.expect(w.call("wait", arguments{"name": "x"}), stateAsked, "call wait")
			w.api.refuse("WATCH "+kind, errors.New("connection refused"))
			w.expect(w.call("wait", arguments{"name": "x"}), stateFailed, "connection refused", "try again later")
		})
	}
}

// TestAClientThatGoesTakesItsWaitWithIt: the process ends when its client does.
func TestAClientThatGoesTakesItsWaitWithIt(t *testing.T) {
	for _, way := range []string{"the client goes", "the process is told to end"} {
		t.Run(way, func(t *testing.T) {
			w := newWorld(t, stored("x"))
			server, err := New(w.api.agent(t), agents, w.clock, t.Output())
			if err != nil {
				t.Fatal(err)
			}
			ours, theirs := sdk.NewInMemoryTransports()
			serving, stop := context.WithCancel(w.ctx)
			defer stop()
			ended := make(chan error)
			go func() { ended <- server.Serve(serving, ours) }()
			session, err := sdk.NewClient(&sdk.Implementation{Name: "a"}, &sdk.ClientOptions{
				ProgressNotificationHandler: func(_ context.Context, r *sdk.ProgressNotificationClientRequest) { w.progress <- r.Params.Message }}).Connect(w.ctx, theirs, nil)
			if err != nil {
				t.Fatal(err)
			}
			calling, hangUp := context.WithCancel(w.ctx)
			defer hangUp()
			over := make(chan struct{})
			go func() {
				defer close(over)
				params := &sdk.CallToolParams{Name: "wait", Arguments: arguments{"name": "x"}}
				params.SetProgressToken(1)
				_, _ = session.CallTool(calling, params)
			}()
			w.awaitProgress("asked")
			if way == "the client goes" {
				hangUp()
				_ = session.Close()
			} else {
				stop()
			}
			if err := <-ended; err != nil || w.ctx.Err() != nil {
				t.Error(err, w.ctx.Err())
			}
			<-over
		})
	}
}

// TestEveryStandHasItsWordAndItsNextStep: of all reasons for which a request is refused, and all outcomes of a grant.
func TestEveryStandHasItsWordAndItsNextStep(t *testing.T) {
	for _, tt := range []struct {
		name    string
		request func(*v1alpha1.CapabilityRequest)
		grant   func(*v1alpha1.CapabilityGrant)
		state   state
		words   []string
	}{
		{name: "guard", request: decides(v1alpha1.ReasonGuardIncomplete, "valetkey-jobs is missing"), state: stateWaiting, words: []string{"valetkey-jobs is missing", "call wait"}},
		{name: "unknown", request: decides(v1alpha1.ReasonIndeterminate, "capability x is not Ready"), state: stateWaiting, words: []string{"capability x is not Ready"}},
		{name: "timeout", request: refuses(v1alpha1.ReasonApprovalTimedOut, "1 was missing"), state: stateRefused, words: []string{"ask again when somebody is there", "Valetkey, ApprovalTimedOut"}},
		{name: "job", request: refuses(v1alpha1.ReasonJobRefused, "image is a, not b"), state: stateRefused, words: []string{"image is a, not b", "with the step changed"}},
		{name: "unsafe", request: refuses(v1alpha1.ReasonNamespaceUnsafe, "level privileged"), state: stateRefused, words: []string{"level privileged", tellAPerson}},
		{name: "strong", request: refuses(v1alpha1.ReasonRequesterTooStrong, "may read Secrets"), state: stateRefused, words: []string{"may read Secrets", tellAPerson}},
		{name: "changed", request: refuses(v1alpha1.ReasonReviewChanged, "the Job is gone"), state: stateRefused, words: []string{"the Job is gone", "ask again"}},
		{name: "gone", request: ends(v1alpha1.ReasonGrantEnded, "its grant was deleted"), state: stateEnded, words: []string{"its grant was deleted"}},
		{name: "issuing", request: decides(v1alpha1.ReasonAllowed, ""), grant: func(g *v1alpha1.CapabilityGrant) {
			g.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionIssued, Reason: v1alpha1.ReasonBackingOff, Message: "STS is busy"}}
		}, state: stateGranted, words: []string{"STS is busy"}},
		{name: "issued", grant: func(g *v1alpha1.CapabilityGrant) {
			g.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionIssued, Status: metav1.ConditionTrue, Message: planted}}
		}, state: stateGranted, words: []string{"the credential is being issued"}},
		{name: "starting", grant: steps(metav1.ConditionFalse, v1alpha1.ReasonNotStarted, "ErrImagePull: no such digest"), state: stateStarting, words: []string{"ErrImagePull: no such digest"}},
		{name: "running", grant: steps(metav1.ConditionTrue, v1alpha1.ReasonRunning, "container publish runs"), state: stateRunning},
		{name: "step over", grant: steps(metav1.ConditionFalse, v1alpha1.ReasonStepOver, "container publish ended with exit code 3"), state: stateEnding,
			words: []string{"ended with exit code 3"}},
		{name: "ending", grant: func(g *v1alpha1.CapabilityGrant) {
			g.Status.Stop = &v1alpha1.GrantStop{Message: "policy freeze denies it"}
		}, state: stateEnding, words: []string{"policy freeze denies it"}},
		{name: "failed", grant: outcome(v1alpha1.OutcomeFailed), state: stateEnded, words: []string{`"outcome":"Failed"`, "the step failed; its output: kubectl logs"}},
		{name: "expired", grant: outcome(v1alpha1.OutcomeExpired), state: stateEnded, words: []string{"for longer if the terms allow it"}},
		{name: "revoked", grant: outcome(v1alpha1.OutcomeRevoked), state: stateEnded, words: []string{"the reason", "find out from whoever ended it"}},
		{name: "not issued", grant: outcome(v1alpha1.OutcomeIssueFailed), state: stateEnded, words: []string{"tell a person"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := stored("x")
			if tt.request != nil {
				tt.request(r)
			}
			objects := []client.Object{r}
			if tt.grant != nil {
				g := &v1alpha1.CapabilityGrant{ObjectMeta: metav1.ObjectMeta{Namespace: agents, Name: "x"}}
				g.Spec.RequestRef.UID = "x"
				tt.grant(g)
				objects = append(objects, g)
			}
			w := newWorld(t, objects...)
			answer := w.call("status", arguments{"name": "x"})
			w.expect(answer, tt.state, tt.words...)
			if answer.Asked == nil || answer.failed || (answer.State == stateRefused && answer.Rule == "") {
				t.Errorf("%s", answer.text)
			}
		})
	}
}

// TestTheGrantOfAnEarlierRequestOfTheNameIsNotTold: it may still be being removed.
func TestTheGrantOfAnEarlierRequestOfTheNameIsNotTold(t *testing.T) {
	earlier := &v1alpha1.CapabilityGrant{ObjectMeta: metav1.ObjectMeta{Namespace: agents, Name: "x"}}
	earlier.Spec.RequestRef.UID = "another"
	w := newWorld(t, stored("x", awaitsApproval), earlier)
	w.expect(w.call("status", arguments{"name": "x"}), stateAwaiting)
}

func outcome(o v1alpha1.GrantOutcome) func(*v1alpha1.CapabilityGrant) {
	return func(g *v1alpha1.CapabilityGrant) {
		g.Status.Outcome, g.Status.EndedAt = o, ptr.To(metav1.NewTime(noon()))
		g.Status.Stop = &v1alpha1.GrantStop{Message: "the reason"}
	}
}

// TestWhyTellsTheClausesOfThePolicyThatRefused: as long as that policy is what it was.
func TestWhyTellsTheClausesOfThePolicyThatRefused(t *testing.T) {
	w := newWorld(t, stored("x", func(r *v1alpha1.CapabilityRequest) {
		r.Spec.Environment = "production"
		r.Status.Policy = &v1alpha1.PolicyReference{Name: "preview-builds", Generation: 3}
		refuses(v1alpha1.ReasonDeniedByPolicy, "policy preview-builds allows environments preview")(r)
	}))
	r := w.call("status", arguments{"name": "x"})
	w.expect(r, stateRefused, "policy preview-builds allows environments preview", changeAndAsk)
	if r.Rule != "policy preview-builds" || len(r.Change) != 1 || r.Change["environment"] == "" {
		t.Errorf("%s", r.text)
	}
	edit(w, previews(), func(p *v1alpha1.CapabilityPolicy) { p.Generation++ })
	if r := w.call("status", arguments{"name": "x"}); len(r.Change) != 0 || r.Rule != "policy preview-builds" {
		t.Errorf("it tells of another policy: %s", r.text)
	}
	w.api.refuse("GET capabilitypolicies", errors.New("connection refused"))
	w.expect(w.call("status", arguments{"name": "x"}), stateRefused, "policy preview-builds allows environments preview")
}

func TestWithdrawingDeletesTheRequestAndThenItsJob(t *testing.T) {
	w := newWorld(t)
	w.asks(plea(), awaitsApproval)
	w.expect(w.call("withdraw", arguments{"name": asking}), stateWithdrawn, "nothing had been issued")
	w.expectChanges("POST capabilityrequests", "POST jobs", "DELETE capabilityrequests/"+asking, "DELETE jobs/valetkey-"+asking)
	t.Run("and says until when what was issued may work", func(t *testing.T) {
		w := w.in(t)
		w.asks(plea(), awaitsApproval)
		w.grants(asking)
		r := w.call("withdraw", arguments{"name": asking})
		w.expect(r, stateWithdrawn, "its grant is being ended", "a copy of it works until then")
		if r.Until != "2026-03-04T12:20:00Z" {
			t.Errorf("%s", r.text)
		}
	})
	t.Run("and that nobody can say it", func(t *testing.T) {
		w := newWorld(t)
		w.asks(plea(), awaitsApproval)
		w.grants(asking)
		g := &v1alpha1.CapabilityGrant{ObjectMeta: metav1.ObjectMeta{Namespace: agents, Name: asking}}
		if err := w.api.Get(w.ctx, client.ObjectKeyFromObject(g), g); err != nil {
			t.Fatal(err)
		}
		g.Status.Exposed = []v1alpha1.AttemptExposure{{Attempt: 1, Until: *g.Status.CredentialExpiresAt, Unknown: true}}
		if err := w.api.Status().Update(w.ctx, g); err != nil {
			t.Fatal(err)
		}
		r := w.call("withdraw", arguments{"name": asking})
		w.expect(r, stateWithdrawn, "its grant is being ended", "nobody can say until when")
		if r.Until != "" {
			t.Errorf("%s", r.text)
		}
	})
	t.Run("but not those of others, nor what has ended", func(t *testing.T) {
		w := newWorld(t, stored("theirs", func(r *v1alpha1.CapabilityRequest) { r.Spec.Requester.Username = "bob" }), stored("over", ends(v1alpha1.ReasonGrantEnded, "Completed")),
			stored("odd", func(r *v1alpha1.CapabilityRequest) { r.Spec.Requester.Username = "bob; delete it" }))
		r := w.call("withdraw", arguments{"name": "theirs"})
		w.expect(r, stateAsked, "it is the request of bob, not of")
		w.expect(w.call("withdraw", arguments{"name": "odd"}), stateAsked, `it is the request of \"bob; delete it\", not of`)
		w.expect(w.call("withdraw", arguments{"name": "over"}), stateEnded, "nothing is left to withdraw")
		w.expectChanges()
		if !r.failed {
			t.Error("it is told as if it had been done")
		}
	})
	t.Run("and says who would not let it", func(t *testing.T) {
		w := newWorld(t, stored("x"))
		w.api.refuse("DELETE capabilityrequests", forbidden("capabilityrequests", "not you"))
		w.expect(w.call("withdraw", arguments{"name": "x"}), stateFailed, "not you", "ClusterRole valetkey-requester", `"task":"pr-184"`)
	})
}

func TestStatusListsTheAgentsOwnTheNewestFirst(t *testing.T) {
	objects := []client.Object{stored("theirs", func(r *v1alpha1.CapabilityRequest) { r.Spec.Requester.Username = "bob" })}
	for i := range 25 {
		objects = append(objects, stored("x"+string(rune('a'+i)), func(r *v1alpha1.CapabilityRequest) {
			r.CreationTimestamp = metav1.NewTime(noon().Add(time.Duration(i) * time.Minute))
		}))
	}
	w := newWorld(t, objects...)
	r := w.call("status", arguments{})
	if len(r.listed.Requests) != maxListed || r.listed.More != 5 || r.listed.Requests[0].Name != "xy" || r.listed.Requests[0].Task != "pr-184" || strings.Contains(r.text, "theirs") {
		t.Errorf("%s", r.text)
	}
	w.api.refuse("GET capabilityrequests", forbidden("capabilityrequests", "no"))
	w.expect(w.call("status", arguments{}), stateFailed, "ClusterRole valetkey-requester")
	w.expect(w.call("status", arguments{"name": "x"}), stateFailed, "ClusterRole valetkey-requester")
	if r := newWorld(t).call("status", arguments{}); !strings.Contains(r.text, "you have asked for nothing here; call capabilities") {
		t.Errorf("%s", r.text)
	}
}

// steps makes a delivered grant, whose step runs or not.
func steps(status metav1.ConditionStatus, reason, message string) func(*v1alpha1.CapabilityGrant) {
	return func(g *v1alpha1.CapabilityGrant) {
		g.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionDelivered, Status: metav1.ConditionTrue},
			{Type: v1alpha1.ConditionRunning, Status: status, Reason: reason, Message: message}}
	}
}
