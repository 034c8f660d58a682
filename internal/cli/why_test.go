// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

func TestWhySaysWhatTheOperatorSaysAndThenPolicyByPolicy(t *testing.T) {
	elsewhere := func(p *v1alpha1.CapabilityPolicySpec) { p.Repos, p.When, p.Approval = []string{"payments"}, nil, nil }
	at(t, aRequest(), aJob(), aCapability(), aPolicy("preview-builds"), aPolicy("payments", elsewhere)).types("why", "publish-pr-184").exits(0).prints(`
publish-pr-184 in namespace agents: AwaitingApproval

What the operator says
  operator    AwaitingApproval: policy preview-builds waits for 1 approval by 2026-11-25T12:56:00Z, from group release-managers
  since       2026-11-25T11:56:00Z (4m ago)

What the policies say
  pending     policy preview-builds waits for 1 approval by 2026-11-25T12:56:00Z, from group release-managers

preview-builds (Allow) cannot be told yet, and decides
  yes  capabilities   publish-preview-build; the request has publish-preview-build
  yes  requesters     ServiceAccount agents/web-app-bot; the request has system:serviceaccount:agents:web-app-bot
  yes  repos          web-app; the request has web-app
  yes  environments   preview; the request has preview
  yes  when[0]        a preview gets at most fifteen minutes
  yes  maxTTLSeconds  up to 900; the request has 900
  open approval       1 approval, from group release-managers

payments (Allow) does not match
  yes  capabilities   publish-preview-build; the request has publish-preview-build
  yes  requesters     ServiceAccount agents/web-app-bot; the request has system:serviceaccount:agents:web-app-bot
  no   repos          payments; the request has web-app
  yes  environments   preview; the request has preview
  yes  maxTTLSeconds  up to 900; the request has 900
`)
}

// TestWhy_AnotherSpellingIsToldWithTheRightOne: the policies say of the repository what they would say of its right spelling.
func TestWhy_AnotherSpellingIsToldWithTheRightOne(t *testing.T) {
	c := aCapability()
	c.Spec.GitHub = &v1alpha1.GitHubCapability{Owner: "acme", Repositories: []string{"*"}}
	r := aRequest(func(r *v1alpha1.CapabilityRequest) { r.Spec.Repo = "ACME/Web-App" })
	at(t, r, aJob(), c, aPolicy("preview-builds")).types("why", "publish-pr-184").exits(0).
		says("write repo as web-app, not ACME/Web-App: capability publish-preview-build takes each repository in one spelling",
			"yes  repos          web-app; the request has ACME/Web-App")
}

func TestWhySaysWhatItCouldNotReadBeforeTheAnswer(t *testing.T) {
	noPolicies := interceptor.Funcs{List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, o ...client.ListOption) error {
		if _, policies := list.(*v1alpha1.CapabilityPolicyList); policies {
			return forbidden("no policies")
		}
		return c.List(ctx, list, o...)
	}}
	said := intercepted(t, noPolicies, aRequest(), aJob(), aCapability(), aPolicy("preview-builds")).types("why", "publish-pr-184").exits(0).
		says("  not known   what they say of the request as a whole depends on what could not be read\n")
	unread, answer := strings.Index(said.stdout, "!!!         you may not list capabilitypolicies (ClusterRole valetkey-catalogue-viewer)"), strings.Index(said.stdout, "What the policies say")
	if unread < 0 || answer < unread {
		t.Errorf("it does not say first what it could not read:\n%s", said.stdout)
	}
}

// TestWhyDoesNotTakeWhatItMayNotReadForMissing: a verdict would speak of a Job, or a capability, that does not exist.
func TestWhyDoesNotTakeWhatItMayNotReadForMissing(t *testing.T) {
	without := func(hides func(client.Object) bool) *desk {
		return intercepted(t, interceptor.Funcs{Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, o ...client.GetOption) error {
			if hides(object) {
				return forbidden("not that")
			}
			return c.Get(ctx, key, object, o...)
		}}, aRequest(), aJob(), aCapability(), aPolicy("preview-builds"))
	}
	const open = "not known   what they say of the request as a whole depends on what could not be read"
	job := without(func(o client.Object) bool { _, is := o.(*batchv1.Job); return is }).types("why", "publish-pr-184").exits(0).says(open, "you may not read the Job", "preview-builds (Allow) cannot be told yet\n")
	capability := without(func(o client.Object) bool { _, is := o.(*v1alpha1.Capability); return is }).types("why", "publish-pr-184").exits(0).says(open, "you may not read the capability")
	for _, wrong := range []string{"does not exist", "there is no", "preview-builds (Allow) does not match"} {
		if strings.Contains(job.stdout+capability.stdout, wrong) {
			t.Errorf("it says %q:\n%s%s", wrong, job.stdout, capability.stdout)
		}
	}
}

func TestWhySaysThatPoliciesMayHaveBeenOthersWhenTheRequestEnded(t *testing.T) {
	r := aRequest(func(r *v1alpha1.CapabilityRequest) { r.Status.EndedAt = &metav1.Time{Time: noon()} })
	at(t, r, aJob(), aCapability()).types("why", r.Name).exits(0).says("What the policies say today; the request has ended, and they may have been others then", "there is no policy")
	broken := aPolicy("broken", func(p *v1alpha1.CapabilityPolicySpec) { p.When[0].Expression = "request.nothing" })
	at(t, r, aJob(), aCapability(), broken).types("why", r.Name).exits(0).says("broken (Allow) does not match, and decides\n  not valid   when[0]: the expression does not compile")
}

func TestWhyAnswersPrograms(t *testing.T) {
	var got struct {
		Namespace, Name string
		Operator        metav1.Condition
		Today           struct{ Verdict, Reason, Policy string }
		Policies        []struct {
			Policy, Matches string
			Decides         bool
			Clauses         []struct{ Field, Holds string }
		}
	}
	text := at(t, aRequest(), aJob(), aCapability(), aPolicy("preview-builds")).types("why", "publish-pr-184", "-o", "json").exits(0).stdout
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	if got.Name != "publish-pr-184" || got.Operator.Reason != v1alpha1.ReasonAwaitingApproval || got.Today.Verdict != "Pending" || got.Today.Policy != "preview-builds" ||
		len(got.Policies) != 1 || !got.Policies[0].Decides || got.Policies[0].Clauses[0].Field != "capabilities" {
		t.Errorf("got %s", text)
	}
}
