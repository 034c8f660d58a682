// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package observe_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/controller/observe"
	"github.com/valetkey/valetkey/internal/live"
	"github.com/valetkey/valetkey/internal/rbac"
)

const agents = "agents"

// apiServer answers as one does whose authorizers are RBAC and whatever else a test adds. Roles are read from the
// same objects as the Observer's cache.
type apiServer struct {
	client.WithWatch
	observer *observe.Observer
	clock    *clocktesting.FakePassiveClock
	// incomplete: an authorizer cannot list its rules.
	incomplete bool
	// other is another authorizer, asked before RBAC; it decides where the second value is true.
	other func(spec authorizationv1.SubjectAccessReviewSpec) (authorizationv1.SubjectAccessReviewStatus, bool)
	// broken is the error of whatever is asked.
	broken error

	mu    sync.Mutex
	asked []string
}

func newAPIServer(objects ...client.Object) *apiServer {
	s := &apiServer{clock: clocktesting.NewFakePassiveClock(time.Unix(1_000_000, 0))}
	s.WithWatch = fake.NewClientBuilder().WithObjects(objects...).WithInterceptorFuncs(interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList,
			options ...client.ListOption) error {
			if _, is := list.(*corev1.ServiceAccountList); is {
				s.note("accounts")
			}
			return c.List(ctx, list, options...)
		},
		Create: func(ctx context.Context, c client.WithWatch, object client.Object,
			options ...client.CreateOption) error {
			if s.broken != nil {
				return s.broken
			}
			switch review := object.(type) {
			case *authorizationv1.SelfSubjectRulesReview:
				s.note("rules")
				review.Status.Incomplete = s.incomplete
				return nil
			case *authorizationv1.SubjectAccessReview:
				a := review.Spec.ResourceAttributes
				s.note(
					strings.TrimPrefix(
						review.Spec.User,
						"system:serviceaccount:agents:",
					) + " " + a.Verb + " " + a.Resource,
				)
				return s.authorize(ctx, review)
			default:
				return c.Create(ctx, object, options...)
			}
		},
	}).Build()
	s.observer = &observe.Observer{
		Cache:   s,
		Live:    live.New(s),
		Access:  s,
		Clock:   s.clock,
		Answers: observe.NewAnswers(s.clock),
	}
	return s
}

func (s *apiServer) authorize(ctx context.Context, review *authorizationv1.SubjectAccessReview) error {
	if s.other != nil {
		if status, decides := s.other(review.Spec); decides {
			review.Status = status
			return nil
		}
	}
	switch {
	case slices.Contains(review.Spec.Groups, "system:masters"):
		review.Status.Allowed = true
		return nil
	case slices.Contains(review.Spec.Groups, "system:nodes"):
		review.Status.Reason = "node: No Object name found"
		return nil
	}
	a := review.Spec.ResourceAttributes
	found, err := rbac.Reader{Objects: s}.Of(ctx, a.Namespace, rbac.User(review.Spec.User, review.Spec.Groups),
		[]rbac.Access{{Verb: a.Verb, Group: a.Group, Resource: a.Resource, Name: a.Name}})
	if review.Status.Allowed = found.Allows(0); review.Status.Allowed {
		review.Status.Reason = "RBAC: allowed by a binding"
	}
	return err
}

func (s *apiServer) note(question string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, question)
}

// heard returns what was asked since it was called last, sorted.
func (s *apiServer) heard() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.Sort(s.asked)
	all := strings.Join(s.asked, ", ")
	s.asked = nil
	return all
}

// look asks about a request, and returns what was found, a line each.
func (s *apiServer) look(t *testing.T, r *v1alpha1.CapabilityRequest, moment observe.Moment) string {
	t.Helper()
	found, err := s.observer.Exposure(t.Context(), r, moment)
	if err != nil {
		return "error: " + err.Error()
	}
	var lines []string
	for _, risk := range found {
		lines = append(lines, string(risk.Needs)+": "+risk.Message)
	}
	return strings.Join(lines, "\n")
}

func asks(name string, groups ...string) *v1alpha1.CapabilityRequest {
	return &v1alpha1.CapabilityRequest{ObjectMeta: metav1.ObjectMeta{Namespace: agents, Name: "mine"},
		Spec: v1alpha1.CapabilityRequestSpec{Requester: v1alpha1.Identity{Username: name, Groups: groups}}}
}

// bot is a ServiceAccount of the namespace that asks; alice is a person.
func bot() *v1alpha1.CapabilityRequest {
	return asks("system:serviceaccount:agents:bot", rbac.GroupsOf(agents)...)
}
func alice() *v1alpha1.CapabilityRequest { return asks("alice", "developers", "system:authenticated") }

func accounts(n int) []client.Object {
	all := make([]client.Object, n)
	for i := range all {
		all[i] = &corev1.ServiceAccount{
			ObjectMeta: metav1.ObjectMeta{Namespace: agents, Name: fmt.Sprintf("account-%03d", i)},
		}
	}
	return all
}

// given is a role of one rule, and its binding.
func given(subject rbacv1.Subject, verbs []string, group, resource string, names ...string) []client.Object {
	meta := metav1.ObjectMeta{Namespace: agents, Name: "more"}
	return []client.Object{
		&rbacv1.Role{
			ObjectMeta: meta,
			Rules: []rbacv1.PolicyRule{
				{Verbs: verbs, APIGroups: []string{group}, Resources: []string{resource}, ResourceNames: names},
			},
		},
		&rbacv1.RoleBinding{
			ObjectMeta: meta,
			Subjects:   []rbacv1.Subject{subject},
			RoleRef:    rbacv1.RoleRef{Kind: "Role", Name: "more"},
		},
	}
}

func account(name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: agents, Name: name}
}

// TestExposure_RightsByRoles gives somebody a right, and looks at what is found and in which words.
func TestExposure_RightsByRoles(t *testing.T) {
	read := []string{"get", "list", "watch"}
	group := func(name string) rbacv1.Subject { return rbacv1.Subject{Kind: rbacv1.GroupKind, Name: name} }
	for name, row := range map[string]struct {
		roles   []client.Object
		request *v1alpha1.CapabilityRequest
		want    string
	}{
		"nobody has any": {nil, bot(), ""},
		"the requester": {given(account("bot"), read, "", "secrets"), bot(),
			"SecretReader: system:serviceaccount:agents:bot may read, list and watch Secrets in namespace agents (RoleBinding more)"},
		"patching, which reads": {given(account("other"), []string{"patch"}, "", "secrets"), bot(),
			"SecretReader: system:serviceaccount:agents:other may patch Secrets in namespace agents (RoleBinding more)"},
		"another account": {given(account("other"), []string{"list"}, "", "secrets"), bot(),
			"SecretReader: system:serviceaccount:agents:other may list Secrets in namespace agents (RoleBinding more)"},
		"all accounts": {given(group("system:serviceaccounts:agents"), []string{"watch"}, "",
			"secrets"), bot(),
			"SecretReader: group system:serviceaccounts:agents may watch Secrets in namespace agents (RoleBinding more)"},
		"a person who asks": {given(group("developers"), []string{"get"}, "", "secrets"), alice(),
			"SecretReader: group developers may read Secrets in namespace agents (RoleBinding more)"},
		"a person who does not ask": {given(group("developers"), []string{"get"}, "", "secrets"), bot(), ""},
		"approving": {given(account("other"), []string{"approve"}, "valetkey.dev",
			"capabilityrequests"), bot(),
			"RequesterMayApprove: system:serviceaccount:agents:other may approve requests in namespace agents (RoleBinding more)"},
		"approving by this name": {given(account("other"), []string{"approve"}, "valetkey.dev",
			"capabilityrequests", "mine"), bot(),
			"RequesterMayApprove: system:serviceaccount:agents:other may approve requests in namespace agents (RoleBinding more)"},
		"approving by another name": {given(account("other"), []string{"approve"}, "valetkey.dev",
			"capabilityrequests", "yours"), bot(), ""},
		"reading one Secret by name": {given(account("other"), read, "", "secrets", "tls"), bot(), ""},
		"reading a Secret that a grant will have": {given(account("bot"), read, "", "secrets", "tls", "valetkey-5e8f1a3c-1"), bot(),
			"SecretReader: system:serviceaccount:agents:bot may read, list and watch Secrets in namespace agents (RoleBinding more)"},
		"reading something else that is named so": {given(account("bot"), read, "", "configmaps", "valetkey-5e8f1a3c-1"), bot(), ""},
		"a cluster administrator": {nil, asks("root", "system:masters"),
			"RequesterMayApprove: root may approve requests in namespace agents (it needs no role)\n" +
				"SecretReader: root may read, list, watch, patch, delete and deletecollection Secrets in namespace agents (it needs no role)"},
		"a node": {nil, asks("system:node:n1", "system:nodes", "system:authenticated"),
			"RequesterMayApprove: system:node:n1 may approve requests in namespace agents (it needs no role)\n" +
				"SecretReader: system:node:n1 may read, list, watch, patch, delete and deletecollection Secrets in namespace agents (it needs no role)"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, moment := range []observe.Moment{observe.Deciding, observe.Issuing} {
				s := newAPIServer(append(row.roles, accounts(1)...)...)
				if diff := cmp.Diff(row.want, s.look(t, row.request, moment)); diff != "" {
					t.Error(diff)
				}
				if asked := s.heard(); strings.Contains(asked, "account") {
					t.Errorf("it asked %s", asked)
				}
			}
		})
	}
}

// TestExposure_QuestionsOfAGrant counts what is asked where RBAC alone authorizes, with five hundred accounts in
// the namespace.
func TestExposure_QuestionsOfAGrant(t *testing.T) {
	s := newAPIServer(accounts(500)...)
	expect := func(when, want string) {
		t.Helper()
		if got := s.heard(); got != want {
			t.Errorf("%s: it asks %q; want %q", when, got, want)
		}
	}
	look := func(r *v1alpha1.CapabilityRequest, moment observe.Moment) {
		t.Helper()
		if found := s.look(t, r, moment); found != "" {
			t.Error(found)
		}
	}
	look(bot(), observe.Deciding)
	expect("an account asks", "bot get secrets, rules")
	look(bot(), observe.Issuing)
	expect("its credential is issued", "")
	second := asks("system:serviceaccount:agents:second", rbac.GroupsOf(agents)...)
	look(second, observe.Deciding)
	expect("another account asks", "")
	look(second, observe.Issuing)
	expect("its credential is issued", "second get secrets")
	look(alice(), observe.Deciding)
	expect("a person asks", "")
	look(alice(), observe.Issuing)
	expect("its credential is issued", "alice get secrets")
	for _, object := range given(account("bot"), []string{"get"}, "", "pods") {
		if err := s.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	look(alice(), observe.Deciding)
	expect("the roles of an account have changed", "valetkey-nobody get secrets")
	look(bot(), observe.Issuing)
	expect("its own roles have changed", "bot get secrets")
	look(second, observe.Issuing)
	expect("somebody else's roles have changed", "")
	s.clock.SetTime(s.clock.Now().Add(time.Minute + time.Millisecond))
	look(alice(), observe.Deciding)
	expect("a minute later", "rules, valetkey-nobody get secrets")
	s.clock.SetTime(s.clock.Now().Add(time.Minute + time.Millisecond))
	look(bot(), observe.Issuing)
	expect("a minute later", "bot get secrets, rules")
}

// everything is what is asked about somebody, in order.
func everything(who string) string {
	return who + " approve capabilityrequests, " + who + " delete secrets, " + who + " deletecollection secrets, " + who + " get secrets, " +
		who + " list secrets, " + who + " patch secrets, " + who + " watch secrets"
}

// TestExposure_AnotherAuthorizer has an API server with one that shows in different ways: then everybody is asked
// about.
func TestExposure_AnotherAuthorizer(t *testing.T) {
	type status = authorizationv1.SubjectAccessReviewStatus
	everybody := strings.Join([]string{everything("account-000"), everything("account-001"), "accounts", everything("bot"), "rules"}, ", ")
	twice := strings.Replace(everybody, "bot get secrets", "bot get secrets, bot get secrets", 1)
	lets := func(user, verb string) func(authorizationv1.SubjectAccessReviewSpec) (status, bool) {
		return func(spec authorizationv1.SubjectAccessReviewSpec) (status, bool) {
			return status{Allowed: true}, strings.HasSuffix(spec.User, user) && spec.ResourceAttributes.Verb == verb
		}
	}
	says := func(s status) func(authorizationv1.SubjectAccessReviewSpec) (status, bool) {
		return func(authorizationv1.SubjectAccessReviewSpec) (status, bool) { return s, true }
	}
	for name, row := range map[string]struct {
		incomplete  bool
		other       func(authorizationv1.SubjectAccessReviewSpec) (status, bool)
		want, asked string
	}{
		"a webhook that lets nobody": {true, nil, "", everybody},
		"a webhook that lets the bot": {true, lets("bot", "watch"),
			"SecretReader: system:serviceaccount:agents:bot may watch Secrets in namespace agents (the API server says so)", ""},
		"a webhook that lets another": {true, lets("account-001", "approve"),
			"RequesterMayApprove: system:serviceaccount:agents:account-001 may approve requests in namespace agents (the API server says so)", ""},
		"one that lets without a reason": {false, lets("bot", "get"),
			"SecretReader: system:serviceaccount:agents:bot may read Secrets in namespace agents (the API server says so)", ""},
		"one that lets for a reason": {false, says(status{Allowed: true, Reason: "the moon is full"}),
			strings.Join([]string{
				"RequesterMayApprove: system:serviceaccount:agents:account-000 may approve requests in namespace agents (the API server says so)",
				"SecretReader: system:serviceaccount:agents:account-000 may read, list, watch, patch, delete and deletecollection Secrets in namespace agents (the API server says so)",
				"RequesterMayApprove: system:serviceaccount:agents:account-001 may approve requests in namespace agents (the API server says so)",
				"SecretReader: system:serviceaccount:agents:account-001 may read, list, watch, patch, delete and deletecollection Secrets in namespace agents (the API server says so)",
				"RequesterMayApprove: system:serviceaccount:agents:bot may approve requests in namespace agents (the API server says so)",
				"SecretReader: system:serviceaccount:agents:bot may read, list, watch, patch, delete and deletecollection Secrets in namespace agents (the API server says so)",
			}, "\n"), ""},
		"one that gives a reason": {false, says(status{Reason: "No policy matched."}), "", twice},
		"one that gives a reason beside RBAC's": {false,
			says(status{Reason: "abac: No policy matched.\nrbac: RBAC: role \"x\" not found"}), "", twice},
		"one that refuses": {false, says(status{Denied: true}), "", twice},
		"one that fails":   {false, says(status{EvaluationError: "timeout"}), "", twice},
		"none: RBAC's own reason, of an older API server": {false,
			says(status{Reason: "RBAC: [role \"x\" not found]"}), "", "bot get secrets, rules"},
		"none: RBAC's own reason": {false,
			says(status{Reason: "rbac: RBAC: [role \"x\" not found]"}), "", "bot get secrets, rules"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newAPIServer(accounts(2)...)
			s.incomplete, s.other = row.incomplete, row.other
			if diff := cmp.Diff(row.want, s.look(t, bot(), observe.Deciding)); diff != "" {
				t.Error(diff)
			}
			if asked := s.heard(); row.asked != "" && asked != row.asked {
				t.Errorf("it asked %s", asked)
			}
		})
	}
}

// TestExposure_AskedQuestionsAreSharedForAMoment: where everybody is asked about, requests share what is the same
// for all.
func TestExposure_AskedQuestionsAreSharedForAMoment(t *testing.T) {
	s := newAPIServer(accounts(2)...)
	s.incomplete = true
	s.look(t, bot(), observe.Deciding)
	s.heard()
	other := bot()
	other.Name = "other"
	s.look(t, other, observe.Deciding)
	if got := s.heard(); got != "account-000 approve capabilityrequests, account-001 approve capabilityrequests, bot approve capabilityrequests" {
		t.Errorf("of a second request it asks %s", got)
	}
	s.clock.SetTime(s.clock.Now().Add(2*time.Second + time.Millisecond))
	s.look(t, bot(), observe.Issuing)
	if got := strings.Count(s.heard(), ","); got != 21 {
		t.Errorf("two seconds later it puts %d questions; want 21 and the list of accounts", got)
	}
}

// TestExposure_TooManyAccounts: where everybody has to be asked about, a namespace of too many is refused in words,
// and nobody is asked about.
func TestExposure_TooManyAccounts(t *testing.T) {
	for _, row := range []struct {
		accounts int
		refused  bool
	}{{observe.MostAccounts, false}, {observe.MostAccounts + 1, true}} {
		s := newAPIServer(accounts(row.accounts)...)
		s.incomplete = true
		found := s.look(t, bot(), observe.Deciding)
		const words = "the namespace has more than 100 ServiceAccounts, more than are asked about one by one"
		if refused := strings.Count(found, words) == 2 &&
			strings.HasPrefix(found, "RequesterMayApprove: "); refused != row.refused ||
			!row.refused && found != "" {
			t.Errorf("%d accounts: %s", row.accounts, found)
		}
		if asked := s.heard(); row.refused && asked != "accounts, rules" {
			t.Errorf("%d accounts: it asked %s", row.accounts, asked)
		}
	}
}

// TestExposure_ViewsThatDiffer: when the API server and the cache disagree nothing is decided, and the next look
// asks again.
func TestExposure_ViewsThatDiffer(t *testing.T) {
	s := newAPIServer(given(account("bot"), []string{"get"}, "", "secrets")...)
	s.other = func(authorizationv1.SubjectAccessReviewSpec) (authorizationv1.SubjectAccessReviewStatus, bool) {
		return authorizationv1.SubjectAccessReviewStatus{}, true
	}
	if got := s.look(
		t,
		bot(),
		observe.Issuing,
	); !strings.Contains(
		got,
		"the API server and the operator see them differently",
	) {
		t.Errorf("it may by its roles, and the API server says no: %s", got)
	}
	s = newAPIServer()
	s.other = func(spec authorizationv1.SubjectAccessReviewSpec) (authorizationv1.SubjectAccessReviewStatus, bool) {
		return authorizationv1.SubjectAccessReviewStatus{
				Allowed: true,
				Reason:  "RBAC: allowed by a binding",
			}, strings.HasSuffix(
				spec.User,
				"nobody",
			)
	}
	for range 2 {
		if got := s.look(
			t,
			alice(),
			observe.Deciding,
		); !strings.Contains(
			got,
			"the API server and the operator see them differently",
		) {
			t.Errorf("any account may, and by no role: %s", got)
		}
	}
	s.other = nil
	if got := s.look(t, alice(), observe.Deciding); got != "" {
		t.Errorf("they agree again: %s", got)
	}
}

// TestExposure_WhatCannotBeAskedIsNoAnswer: a failure is an error, and nothing of it is remembered.
func TestExposure_WhatCannotBeAskedIsNoAnswer(t *testing.T) {
	for _, incomplete := range []bool{false, true} {
		s := newAPIServer(accounts(2)...)
		s.incomplete, s.broken = incomplete, errors.New("the API server is away")
		if got := s.look(t, bot(), observe.Issuing); !strings.Contains(got, "the API server is away") {
			t.Errorf("found %q", got)
		}
		s.broken = nil
		if got := s.look(t, bot(), observe.Issuing); got != "" {
			t.Errorf("it is back: %s", got)
		}
	}
}

// TestExposure_WhatIsNotLookedAtIsGiven: the API server looks at all of a role, and of a binding, and says no. That is
// no reason to wait for it.
func TestExposure_WhatIsNotLookedAtIsGiven(t *testing.T) {
	many := make([]string, 10_000)
	for i := range many {
		many[i] = fmt.Sprint("settings-", i)
	}
	crowd := given(account("bot"), []string{"get"}, "", "secrets")
	binding := crowd[1].(*rbacv1.RoleBinding)
	binding.Subjects = nil
	for _, name := range many {
		binding.Subjects = append(binding.Subjects, rbacv1.Subject{Kind: rbacv1.UserKind, Name: name})
	}
	endless := given(account("bot"), []string{"get"}, "", "configmaps")
	name := strings.Repeat("n", 400_000)
	endless[0].SetName(name)
	endless[1].(*rbacv1.RoleBinding).RoleRef.Name = name
	const large = "which has more rules or subjects than are looked at"
	for name, row := range map[string]struct {
		objects []client.Object
		why     string
	}{
		"of a role":        {given(account("bot"), []string{"get"}, "", "configmaps", many...), large},
		"of a binding":     {crowd, large},
		"of a role's name": {endless, "whose role has a longer name than is looked at"},
	} {
		s := newAPIServer(row.objects...)
		s.observer.Cache = rbac.Bounded{Reader: s}
		for _, moment := range []observe.Moment{observe.Deciding, observe.Issuing} {
			if got := s.look(t, bot(), moment); !strings.Contains(got, "RoleBinding more, "+row.why) {
				t.Errorf("%s: %s", name, got)
			}
		}
	}
}
