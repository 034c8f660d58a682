// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// sent collects the patches that reach the API server.
type sent struct{ patches []string }

func (s *sent) funcs() interceptor.Funcs {
	return interceptor.Funcs{Patch: func(_ context.Context, _ client.WithWatch, object client.Object, patch client.Patch, _ ...client.PatchOption) error {
		text, err := patch.Data(object)
		s.patches = append(s.patches, object.GetNamespace()+"/"+object.GetName()+" "+string(text))
		return err
	}}
}

func (s *sent) expect(t *testing.T, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, s.patches); diff != "" {
		t.Errorf("what was sent (-want +got):\n%s", diff)
	}
}

// terminal is a real one, at which somebody types.
func (d *desk) terminal(typed string) *desk {
	d.Helper()
	keyboard, tty, err := pty.Open()
	if err != nil {
		d.Fatal(err)
	}
	d.Cleanup(func() {
		if err := errors.Join(keyboard.Close(), tty.Close()); err != nil {
			d.Error(err)
		}
	})
	if _, err := keyboard.WriteString(typed); err != nil {
		d.Fatal(err)
	}
	d.in = tty
	return d
}

func TestADecisionIsAskedForAndSendsTheDigestThatWasShown(t *testing.T) {
	for verb, c := range map[string]struct{ question, annotation string }{
		"approve": {"Approve exactly this? [y/N] ", v1alpha1.AnnotationApprove},
		"deny":    {"Deny it, which is final? [y/N] ", v1alpha1.AnnotationDeny},
	} {
		for _, yes := range []string{"y\n", "YES\n"} {
			s := &sent{}
			intercepted(t, s.funcs(), aRequest(), aJob()).terminal(yes).types(verb, "publish-pr-184").exits(0).complains(c.question).says("  digest      "+digest, "for request publish-pr-184 in namespace agents, digest "+digest)
			s.expect(t, `agents/publish-pr-184 {"metadata":{"annotations":{"`+c.annotation+`":"`+digest+`"}}}`)
		}
	}
}

func TestAReasonGoesWithTheDecision(t *testing.T) {
	s := &sent{}
	intercepted(t, s.funcs(), aRequest()).types("deny", "publish-pr-184", "--yes", "--reason", "not before Monday").exits(0)
	s.expect(t, `agents/publish-pr-184 {"metadata":{"annotations":{"`+v1alpha1.AnnotationDeny+`":"`+digest+`","`+v1alpha1.AnnotationReason+`":"not before Monday"}}}`)
}

func TestNothingIsSentUnlessSomebodySaysYes(t *testing.T) {
	for name, c := range map[string]struct {
		in   func(*desk) *desk
		want string
	}{
		"no":           {func(d *desk) *desk { return d.terminal("n\n") }, "not confirmed: nothing was sent"},
		"just enter":   {func(d *desk) *desk { return d.terminal("\n") }, "not confirmed: nothing was sent"},
		"the end":      {func(d *desk) *desk { return d.terminal("\x04") }, "not confirmed: nothing was sent"},
		"yes, piped":   {func(d *desk) *desk { d.in = strings.NewReader("y\n"); return d }, "standard input is no terminal: nothing was sent; --yes goes on without asking"},
		"yes, in file": {func(d *desk) *desk { return d.file("y\n") }, "standard input is no terminal: nothing was sent; --yes goes on without asking"},
		"an interrupt": {func(d *desk) *desk {
			ctx, cancel := context.WithCancel(d.ctx)
			cancel()
			d.ctx = ctx
			return d.terminal("")
		}, "interrupted: nothing was sent"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, verb := range []string{"approve", "deny"} {
				s := &sent{}
				c.in(intercepted(t, s.funcs(), aRequest(), aJob())).types(verb, "publish-pr-184").exits(1).complains(c.want).says("AwaitingApproval")
				s.expect(t)
			}
		})
	}
}

// file is standard input from a file: an *os.File, and no terminal.
func (d *desk) file(content string) *desk {
	d.Helper()
	path := d.kubeconfig()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		d.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		d.Fatal(err)
	}
	d.Cleanup(func() { _ = f.Close() })
	d.in = f
	return d
}

func TestWithYesWhatIsApprovedIsPrintedAllTheSame(t *testing.T) {
	s := &sent{}
	d := intercepted(t, s.funcs(), aRequest(), aJob())
	shown, _, _ := strings.Cut(d.types("describe", "publish-pr-184").exits(0).stdout, "\nnext: ")
	if said := d.types("approve", "publish-pr-184", "--yes").exits(0); !strings.HasPrefix(said.stdout, shown) || strings.Contains(said.stderr, "[y/N]") {
		t.Errorf("approve prints something else than describe, or asks:\n%s%s", said.stdout, said.stderr)
	}
}

func TestTheQuestionRepeatsWhatIsNotCoveredAndWhatADenialEnds(t *testing.T) {
	open := aRequest(func(r *v1alpha1.CapabilityRequest) { r.Status.Review.NotCovered = []string{"an image"} })
	at(t, open).terminal("n\n").types("approve", open.Name).complains("Approve exactly this, though 1 thing can change afterwards? [y/N] ")
	granted := aRequest(func(r *v1alpha1.CapabilityRequest) { r.Status.GrantName = r.Name })
	at(t, granted, aGrant(granted.Name)).terminal("n\n").types("deny", granted.Name).complains("It is granted. Deny it, which ends its grant at once? [y/N] ")
}

func TestNobodyIsAskedWhenThereIsNothingToDecide(t *testing.T) {
	s := &sent{}
	unseen := aRequest(func(r *v1alpha1.CapabilityRequest) { r.Status.Review = nil })
	intercepted(t, s.funcs(), unseen).types("approve", unseen.Name, "--yes").exits(1).complains("has no review yet, so there is nothing to approve; the operator says: AwaitingApproval: ")
	over := aRequest(func(r *v1alpha1.CapabilityRequest) {
		r.Status.EndedAt = &metav1.Time{Time: noon()}
		r.Status.Conditions = append(r.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionEnded, Message: "the approvals did not come"})
	})
	intercepted(t, s.funcs(), over).types("deny", over.Name, "--yes").exits(1).
		complains("has ended at 2026-11-25T12:00:00Z (the approvals did not come); nothing can be denied any more; create another request")
	over.Status.Conditions[1].Reason = v1alpha1.ReasonRefused
	intercepted(t, s.funcs(), over).types("approve", over.Name, "--yes").exits(1).
		complains("was refused at 2026-11-25T12:00:00Z (the approvals did not come); nothing can be approved any more; create another request")
	s.expect(t)
}

func TestDecide_AReasonThatCannotBeKeptIsNotSent(t *testing.T) {
	for reason, want := range map[string]string{
		strings.Repeat("ü", 1025): "--reason has 1025 characters; at most 1024 are kept: nothing was sent",
		"two\nlines":              "--reason is one line of text: no line breaks, tabs, control or formatting characters; nothing was sent",
		"from right \u202e to":    "--reason is one line of text",
	} {
		s := &sent{}
		intercepted(t, s.funcs(), aRequest()).types("deny", "publish-pr-184", "--yes", "--reason", reason).exits(1).complains(want)
		s.expect(t)
	}
	s := &sent{}
	intercepted(t, s.funcs(), aRequest()).types("deny", "publish-pr-184", "--yes", "--reason", strings.Repeat("ü", 1024)).exits(0)
}

// TestDecide_NobodyIsAskedAboutTheirOwnRequest: the API server tells who the caller is.
func TestDecide_NobodyIsAskedAboutTheirOwnRequest(t *testing.T) {
	s := &sent{}
	funcs := s.funcs()
	funcs.Create = func(_ context.Context, _ client.WithWatch, object client.Object, _ ...client.CreateOption) error {
		object.(*authenticationv1.SelfSubjectReview).Status.UserInfo.Username = agent
		return nil
	}
	for _, verb := range []string{"approve", "deny"} {
		intercepted(t, funcs, aRequest()).types(verb, "publish-pr-184", "--yes").exits(1).complains(
			"error: request publish-pr-184 in namespace agents is your own: nobody decides on their own request",
			"next: ask somebody else; the operator says: AwaitingApproval: policy preview-builds waits for 1 approval by 2026-11-25T12:56:00Z, from group release-managers")
	}
	s.expect(t)
}

// TestDecide_OneOfSeveralApprovalsIsCounted: whoever gives the first knows that it is not enough.
func TestDecide_OneOfSeveralApprovalsIsCounted(t *testing.T) {
	for name, c := range map[string]struct {
		required int32
		before   []v1alpha1.Decision
		by       string
		want     string
	}{
		"the only one": {1, nil, "alice", "recorded: Approve by alice, for request"},
		"the first":    {2, nil, "alice", "recorded: Approve by alice, approval 1 of 2, for request"},
		"the first again": {2, []v1alpha1.Decision{{By: "alice", Decision: v1alpha1.DecisionApprove, Digest: digest}}, "alice",
			"recorded already, approval 1 of 2, for request"},
		"the second": {2, []v1alpha1.Decision{{By: "bob", Decision: v1alpha1.DecisionApprove, Digest: digest}}, "alice",
			"recorded: Approve by alice, approval 2 of 2, for request"},
		"one beside an older one of something else": {2, []v1alpha1.Decision{{By: "bob", Decision: v1alpha1.DecisionApprove, Digest: "other"}}, "alice",
			"recorded: Approve by alice, approval 1 of 2, for request"},
	} {
		t.Run(name, func(t *testing.T) {
			r := aRequest(func(r *v1alpha1.CapabilityRequest) {
				r.Decisions, r.Status.Approvals = c.before, &v1alpha1.Approvals{Required: c.required}
			})
			server := interceptor.Funcs{Patch: func(_ context.Context, _ client.WithWatch, object client.Object, _ client.Patch, _ ...client.PatchOption) error {
				stored := object.(*v1alpha1.CapabilityRequest)
				mine := v1alpha1.Decision{By: c.by, Decision: v1alpha1.DecisionApprove, Digest: digest}
				stored.Decisions = append(slices.DeleteFunc(slices.Clone(c.before), func(d v1alpha1.Decision) bool { return d.By == c.by }), mine)
				return nil
			}}
			intercepted(t, server, r).types("approve", r.Name, "--yes").exits(0).says(c.want)
		})
	}
}
