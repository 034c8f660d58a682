// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/yaml"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// catalogue is a desk at a cluster that knows who asks, and where the agent alone may make requests.
func catalogue(t *testing.T, objects ...client.Object) *desk {
	t.Helper()
	d := at(t)
	d.dial = func(config *rest.Config) (client.WithWatch, error) {
		who := "alice@example.com"
		if as := config.Impersonate.UserName; as != "" {
			who = as
		}
		funcs := interceptor.Funcs{
			Create: func(_ context.Context, _ client.WithWatch, object client.Object, o ...client.CreateOption) error {
				if review, ok := object.(*authenticationv1.SelfSubjectReview); ok {
					review.Status.UserInfo = authenticationv1.UserInfo{Username: who, Groups: config.Impersonate.Groups}
					return nil
				}
				if _, asks := object.(*authorizationv1.SelfSubjectAccessReview); asks {
					return nil // no
				}
				if options := (&client.CreateOptions{}).ApplyOptions(o); !slices.Equal(options.DryRun, []string{metav1.DryRunAll}) {
					return errors.New("a request was made")
				}
				if who != agent {
					return forbidden(`User "alice@example.com" cannot create resource "capabilityrequests" in API group "valetkey.dev" in the namespace "agents"`)
				}
				return nil
			},
			Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, o ...client.GetOption) error {
				if who == agent {
					return forbidden("the agent may read nothing")
				}
				return c.Get(ctx, key, object, o...)
			},
			List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, o ...client.ListOption) error {
				if who == agent {
					return forbidden("the agent may read nothing")
				}
				return c.List(ctx, list, o...)
			},
		}
		return fake.NewClientBuilder().WithScheme(scheme(t)).WithObjects(objects...).WithInterceptorFuncs(funcs).Build(), nil
	}
	return d
}

func asks(more ...string) []string {
	return append([]string{"can", "publish-preview-build", "--repo", "web-app", "--env", "preview"}, more...)
}

// TestCanAsksForSomebodyElseAndReadsWithOnesOwnRights: the agent here may read nothing of the catalogue.
func TestCanAsksForSomebodyElseAndReadsWithOnesOwnRights(t *testing.T) {
	catalogue(t, aCapability(), aPolicy("preview-builds")).types(asks("--as", agent, "--ttl", "15m")...).exits(0).prints(`
yes, after 1 approval, from group release-managers

Asked for
  requester   system:serviceaccount:agents:web-app-bot
  capability  publish-preview-build
  for         repo web-app, environment preview, 15m, in namespace agents

preview-builds (Allow) cannot be told yet
  yes  capabilities   publish-preview-build; the request has publish-preview-build
  yes  requesters     ServiceAccount agents/web-app-bot; the request has system:serviceaccount:agents:web-app-bot
  yes  repos          web-app; the request has web-app
  yes  environments   preview; the request has preview
  yes  when[0]        a preview gets at most fifteen minutes
  yes  maxTTLSeconds  up to 900; the request has 900
  open approval       1 approval, from group release-managers
`)
}

func TestCanSaysWhenNobodyHasToApprove(t *testing.T) {
	free := aPolicy("free", func(p *v1alpha1.CapabilityPolicySpec) { p.Approval = nil })
	catalogue(t, aCapability(), aPolicy("preview-builds"), free).types(asks("--as", agent)...).exits(0).says("yes, without anybody's approval\n", "the capability's default time", "free (Allow) matches\n")
}

func TestCanSaysWhatToChange(t *testing.T) {
	far := aPolicy("far", func(p *v1alpha1.CapabilityPolicySpec) {
		p.Repos, p.Environments = []string{"payments"}, []string{"production"}
	})
	others := aPolicy("others", func(p *v1alpha1.CapabilityPolicySpec) { p.Requesters[0].Name = "somebody-else" })
	said := catalogue(t, aCapability(), far, others, aPolicy("preview-builds")).types(asks("--as", agent, "--ttl", "1h")...).exits(1).says(
		"no: each of the policies preview-builds, far allows ttlSeconds up to 900, and asks: a preview gets at most fifteen minutes; policy far allows repos payments",
		"What to change, by the nearest policy first\n  preview-builds when[0]: a preview gets at most fifteen minutes\n  preview-builds maxTTLSeconds: up to 900; the request has 3600\n  far         repos: payments; the request has web-app\n")
	if strings.Contains(said.stdout, "others") {
		t.Error("it tells of a policy for somebody else")
	}
	catalogue(t, aCapability()).types(asks("--as", agent)...).exits(1).says("no: no policy lets " + agent + " ask for publish-preview-build\n")
	catalogue(t, aPolicy("preview-builds")).types(asks("--as", agent)...).exits(1).says(`no: there is no capability "publish-preview-build"`)
}

// TestCan_AnotherSpellingIsRefusedAsTheOperatorRefusesIt: the server is not even asked.
func TestCan_AnotherSpellingIsRefusedAsTheOperatorRefusesIt(t *testing.T) {
	c := aCapability()
	c.Spec.GitHub = &v1alpha1.GitHubCapability{Owner: "acme", Repositories: []string{"*"}}
	for repo, words := range map[string]string{
		"ACME/Web-App": "no: write repo as web-app, not ACME/Web-App: capability publish-preview-build takes each repository in one spelling",
		"web-app*":     `no: repo "web-app*" is not allowed; allowed are letters`,
	} {
		catalogue(t, c, aPolicy("preview-builds")).types("can", c.Name, "--repo", repo, "--env", "preview").exits(1).says(words)
	}
	catalogue(t, c, aPolicy("preview-builds")).types(asks("--as", agent)...).exits(0).says("yes, after 1 approval")
}

// TestCanAsksTheServerWhetherItWouldTakeTheRequest: policies are not all that can refuse one.
func TestCanAsksTheServerWhetherItWouldTakeTheRequest(t *testing.T) {
	forAlice := aPolicy("for-alice", func(p *v1alpha1.CapabilityPolicySpec) {
		p.Requesters = []v1alpha1.Subject{{Kind: v1alpha1.SubjectUser, Name: "alice@example.com"}}
	})
	catalogue(t, aCapability(), forAlice).types(asks()...).exits(1).says("no: a policy would allow it, but the request would not be taken: ", `User "alice@example.com" cannot create resource`,
		"\nnext: have the ClusterRole valetkey-requester bound in namespace agents", "for-alice (Allow) cannot be told yet")
}

func TestCan_WhatIsNotSaidYetIsLeftOpen(t *testing.T) {
	asking := func(name, expression string, edits ...func(*v1alpha1.CapabilityPolicySpec)) *v1alpha1.CapabilityPolicy {
		return aPolicy(name, append(edits, func(p *v1alpha1.CapabilityPolicySpec) {
			p.Approval, p.When = nil, []v1alpha1.Expression{{Expression: expression, Message: "as asked"}}
		})...)
	}
	denying := func(p *v1alpha1.CapabilityPolicySpec) {
		p.Effect, p.Repos, p.Environments, p.Requesters, p.MaxTTLSeconds = v1alpha1.EffectDeny, nil, nil, nil, nil
	}
	const open = "yes, without anybody's approval, if what is left open below allows it\n"
	free := asking("free", "true")
	for name, row := range map[string]struct {
		policies []*v1alpha1.CapabilityPolicy
		flags    []string
		code     int
		words    []string
	}{
		"an actor": {[]*v1alpha1.CapabilityPolicy{asking("free", "request.actor == 'openclaw'")}, nil, 0,
			[]string{open, "  open when[0]        as asked (depends on request.actor)\n"}},
		"the actor that is asked for": {[]*v1alpha1.CapabilityPolicy{asking("free", "request.actor == 'openclaw'")}, []string{"--actor", "openclaw"}, 0,
			[]string{"yes, without anybody's approval\n"}},
		"another actor": {[]*v1alpha1.CapabilityPolicy{asking("free", "request.actor == 'openclaw'")}, []string{"--actor", "me"}, 1, []string{"no: policy free asks: as asked"}},
		"a justification and a task": {[]*v1alpha1.CapabilityPolicy{asking("free", "request.justification != '' && request.taskID != ''")}, nil, 0,
			[]string{open, "(depends on request.justification and request.taskID)"}},
		"a task alone":   {[]*v1alpha1.CapabilityPolicy{asking("free", "request.justification != '' && request.taskID != ''")}, []string{"--task", "pr-1"}, 0, []string{open, "(depends on request.justification)"}},
		"another task":   {[]*v1alpha1.CapabilityPolicy{asking("free", "request.taskID.startsWith('INC-')")}, []string{"--task", "pr-1"}, 1, nil},
		"the whole":      {[]*v1alpha1.CapabilityPolicy{asking("free", "[request].exists(r, r.actor == 'me')")}, []string{"--task", "pr-1"}, 0, []string{open, "request.actor and request.justification and request.name)"}},
		"a Deny's name":  {[]*v1alpha1.CapabilityPolicy{free, asking("nights", "request.name.startsWith('nightly-')", denying)}, nil, 0, []string{open, "free (Allow) matches\n", "nights (Deny) cannot be told yet\n", "(depends on request.name)"}},
		"a Deny's actor": {[]*v1alpha1.CapabilityPolicy{free, asking("mine", "request.actor != 'you'", denying)}, []string{"--actor", "me"}, 1, []string{"no: policy mine denies it: as asked"}},
		"what does not depend on it": {[]*v1alpha1.CapabilityPolicy{asking("free", "request.actor == 'openclaw'", func(p *v1alpha1.CapabilityPolicySpec) { p.Repos = []string{"api"} })}, nil, 1,
			[]string{"no: policy free allows repos api\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			objects := []client.Object{aCapability()}
			for _, p := range row.policies {
				objects = append(objects, p)
			}
			catalogue(t, objects...).types(asks(append(row.flags, "--as", agent)...)...).exits(row.code).says(row.words...)
		})
	}
}

// TestCan_WhoeverIsOnCallCanAskWhetherTheyMayBreakTheGlass with the policy of the cookbook.
func TestCan_WhoeverIsOnCallCanAskWhetherTheyMayBreakTheGlass(t *testing.T) {
	text, err := os.ReadFile("../../docs/cookbook/break-glass/policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	recipe := &v1alpha1.CapabilityPolicy{}
	if err := yaml.UnmarshalStrict(text, recipe); err != nil {
		t.Fatal(err)
	}
	restart := aCapability()
	restart.Name, restart.Spec.DefaultTTLSeconds = "restart-service", 600
	on := func(more ...string) []string {
		return append([]string{"can", "restart-service", "--repo", "web-app", "--env", "production", "--as", agent, "--as-group", "on-call"}, more...)
	}
	d := catalogue(t, restart, recipe)
	d.types(on("--task", "INC-1")...).exits(0).says("yes, without anybody's approval, if what is left open below allows it\n",
		"\n  open when[0]        say in justification what is broken, in twenty characters or more (depends on request.justification)\n"+
			"  yes  when[1]        name the incident as the task, for example INC-4711\n")
	d.types(on("--task", "INC-1", "--justification", "checkout answers 503 since 02:50")...).exits(0).says("yes, without anybody's approval\n")
	d.types(on("--task", "INC-1", "--justification", "down")...).exits(1).says("no: policy break-glass asks: say in justification what is broken")
	d.types(on("--task", "because")...).exits(1).says("no: policy break-glass asks: name the incident as the task")
}

// TestCanShowsThePolicyThatDenies, and asks the server no more: alice could not make the request either.
func TestCanShowsThePolicyThatDenies(t *testing.T) {
	freeze := &v1alpha1.CapabilityPolicy{ObjectMeta: metav1.ObjectMeta{Name: "freeze"}, Spec: v1alpha1.CapabilityPolicySpec{Effect: v1alpha1.EffectDeny, Capabilities: []string{"*"}}}
	forAlice := aPolicy("for-alice", func(p *v1alpha1.CapabilityPolicySpec) {
		p.Requesters = []v1alpha1.Subject{{Kind: v1alpha1.SubjectUser, Name: "alice@example.com"}}
	})
	said := catalogue(t, aCapability(), forAlice, freeze).types(asks()...).exits(1).says("no: policy freeze denies it\n", "freeze (Deny) matches, and decides\n")
	if strings.Contains(said.stdout, "for-alice") || strings.Contains(said.stdout, "cannot create") {
		t.Errorf("it tells of what does not matter:\n%s", said.stdout)
	}
}

func TestCanDoesNotSayNoWhenItCannotTell(t *testing.T) {
	unready := aCapability()
	unready.Status.Conditions[0].Status, unready.Status.Conditions[0].Message = metav1.ConditionFalse, "the role is missing"
	catalogue(t, unready, aPolicy("preview-builds")).types(asks("--as", agent)...).exits(2).says("it cannot be told: capability publish-preview-build is not Ready: the role is missing")

	d := catalogue(t, aCapability(), aPolicy("preview-builds"))
	dial := d.dial
	d.dial = func(config *rest.Config) (client.WithWatch, error) {
		config.Impersonate.UserName = agent // who may read nothing
		return dial(config)
	}
	d.types(asks()...).exits(2).says("it cannot be told: what it depends on cannot be read", "you may not read the capability", "you may not list capabilitypolicies (ClusterRole valetkey-catalogue-viewer)")

	d.dial = func(*rest.Config) (client.WithWatch, error) { return nil, errors.New("no way there") }
	d.types(asks()...).exits(2).complains("error: no way there")
}

func TestCanAnswersPrograms(t *testing.T) {
	var got struct {
		Could     *bool
		Approvals int
		Approvers []string
		Requester string
		Policies  []struct{ Policy string }
	}
	text := catalogue(t, aCapability(), aPolicy("preview-builds")).types(asks("--as", agent, "-o", "json")...).exits(0).stdout
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	if got.Could == nil || !*got.Could || got.Approvals != 1 || !slices.Equal(got.Approvers, []string{"group release-managers"}) || got.Requester != agent || got.Policies[0].Policy != "preview-builds" {
		t.Errorf("got %s", text)
	}
}

func TestCanTakesWholeSeconds(t *testing.T) {
	for _, ttl := range []string{"1500ms", "0s", "-1m", "100000000h"} {
		catalogue(t).types(asks("--ttl", ttl)...).exits(1).complains("error: ")
	}
	catalogue(t).types("can", "publish-preview-build", "--repo", "web-app").exits(1).complains(`required flag(s) "env" not set`)
}
