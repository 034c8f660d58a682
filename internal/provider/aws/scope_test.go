// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package aws

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
)

func scoped(resources ...string) *v1alpha1.Capability {
	return &v1alpha1.Capability{
		ObjectMeta: metav1.ObjectMeta{Name: "publish"},
		Spec: v1alpha1.CapabilitySpec{AWS: &v1alpha1.AWSCapability{
			RoleARN: "arn:aws:iam::123456789012:role/publisher",
			Scope:   []v1alpha1.AWSStatement{{Actions: []string{"s3:PutObject"}, Resources: resources}},
		}},
	}
}

func someValues() provider.Values {
	return provider.Values{Repo: "web-app", Environment: "preview", Namespace: "agents"}
}

func TestAScopeIsRenderedForReviewAuditAndSTS(t *testing.T) {
	c := scoped("arn:aws:s3:::previews/${request.repo}/*", "arn:aws:s3:::${request.namespace}.${request.environment}/log")
	c.Spec.AWS.Scope = append(c.Spec.AWS.Scope, v1alpha1.AWSStatement{Actions: []string{"s3:ListBucket", "s3:PutObject"}, Resources: []string{"arn:aws:s3:::previews"}})
	want := provider.Scope{
		Principal: "arn:aws:iam::123456789012:role/publisher",
		Actions:   []string{"s3:ListBucket", "s3:PutObject"},
		Lines: []string{
			"s3:PutObject on arn:aws:s3:::previews/web-app/*,arn:aws:s3:::agents.preview/log",
			"s3:ListBucket,s3:PutObject on arn:aws:s3:::previews",
		},
		Document: `{"Version":"2012-10-17","Statement":[` +
			`{"Effect":"Allow","Action":["s3:PutObject"],"Resource":["arn:aws:s3:::previews/web-app/*","arn:aws:s3:::agents.preview/log"]},` +
			`{"Effect":"Allow","Action":["s3:ListBucket","s3:PutObject"],"Resource":["arn:aws:s3:::previews"]}]}`,
	}
	for range 3 {
		got, err := render(c, someValues())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestValuesThatCouldWidenAScopeAreRefused(t *testing.T) {
	repos := []string{
		"", "*", "web*", "?", "web?", ".", "..", "../web", "web/..", "web/../app", "web//app", "/web", "web/", "a..b", "-web", "web.", "web/..app", "web/-app",
		"$", "${request.environment}", "${aws:username}", "$web", "{web}", "web app", "web\n", "\nweb", "web\x00", "web\tapp", `web"app`, `web\app`, `web",`,
		"web:app", "web,app", "web#app", "web%2e%2e", "wеb-app" /* a Cyrillic letter */, "ｗeb", "web\u200bapp", "web\u202eapp", "wéb", "web\xff",
		strings.Repeat("r", 101), strings.Repeat("r", 10000),
	}
	labels := []string{"", "*", "pre*", "../x", "a/b", "a.b", "-a", "a b", "a\n", "${request.repo}", "prеview", strings.Repeat("e", 64)}
	c := scoped("arn:aws:s3:::previews/static")
	refused := func(what string, v provider.Values) {
		t.Helper()
		if got, err := render(c, v); err == nil {
			t.Errorf("%s was rendered: %s", what, got.Document)
		}
	}
	for _, repo := range repos {
		v := someValues()
		v.Repo = repo
		refused(fmt.Sprintf("repo %.40q", repo), v)
	}
	for _, label := range labels {
		v := someValues()
		v.Environment = label
		refused(fmt.Sprintf("environment %.40q", label), v)
		v = someValues()
		v.Namespace = label
		refused(fmt.Sprintf("namespace %.40q", label), v)
	}
	for _, namespace := range []string{"Agents", "a-", "a_b"} {
		v := someValues()
		v.Namespace = namespace
		refused("namespace "+namespace, v)
	}
}

func TestOrdinaryValuesAreRendered(t *testing.T) {
	for _, repo := range []string{"w", "web-app", "acme/web-app", "acme/team/web.app_2", "Web", "0", ".github", "web--app", "web-", "acme/.github", strings.Repeat("r", 100)} {
		v := someValues()
		v.Repo = repo
		c := scoped("arn:aws:s3:::previews/${request.repo}/*")
		c.Spec.RepoParts = int32(strings.Count(repo, "/") + 1)
		if _, err := render(c, v); err != nil {
			t.Errorf("%s: %v", repo, err)
		}
	}
}

func TestTemplatesThatMakeNoNarrowScopeAreRefused(t *testing.T) {
	tests := map[string]func(*v1alpha1.AWSCapability){
		"no statement":                     func(a *v1alpha1.AWSCapability) { a.Scope = nil },
		"no action":                        func(a *v1alpha1.AWSCapability) { a.Scope[0].Actions = nil },
		"no resource":                      func(a *v1alpha1.AWSCapability) { a.Scope[0].Resources = nil },
		"every action":                     func(a *v1alpha1.AWSCapability) { a.Scope[0].Actions = []string{"*"} },
		"every action of a service":        func(a *v1alpha1.AWSCapability) { a.Scope[0].Actions = []string{"s3:*"} },
		"an action with a wildcard inside": func(a *v1alpha1.AWSCapability) { a.Scope[0].Actions = []string{"s3:Put*Object"} },
		"an action of the request's":       func(a *v1alpha1.AWSCapability) { a.Scope[0].Actions = []string{"s3:${request.repo}"} },
		"every resource":                   func(a *v1alpha1.AWSCapability) { a.Scope[0].Resources = []string{"*"} },
		"every resource of a service":      func(a *v1alpha1.AWSCapability) { a.Scope[0].Resources = []string{"arn:aws:s3:::*"} },
		"a wildcard for the service":       func(a *v1alpha1.AWSCapability) { a.Scope[0].Resources = []string{"arn:aws:*:::previews"} },
		"a wildcard for one character":     func(a *v1alpha1.AWSCapability) { a.Scope[0].Resources = []string{"arn:aws:s3:::preview?"} },
		"a value for the service":          func(a *v1alpha1.AWSCapability) { a.Scope[0].Resources = []string{"arn:aws:${request.environment}:::x"} },
		"an unknown value": func(a *v1alpha1.AWSCapability) {
			a.Scope[0].Resources = []string{"arn:aws:s3:::previews/${request.taskID}/*"}
		},
		"a policy variable": func(a *v1alpha1.AWSCapability) {
			a.Scope[0].Resources = []string{"arn:aws:s3:::previews/${aws:username}/*"}
		},
		"half a value": func(a *v1alpha1.AWSCapability) {
			a.Scope[0].Resources = []string{"arn:aws:s3:::previews/${request.repo"}
		},
		"a wildcard right after a value": func(a *v1alpha1.AWSCapability) {
			a.Scope[0].Resources = []string{"arn:aws:s3:::previews/${request.repo}*"}
		},
		"a wildcard right before a value": func(a *v1alpha1.AWSCapability) {
			a.Scope[0].Resources = []string{"arn:aws:s3:::previews/*${request.repo}"}
		},
		"a line break":                      func(a *v1alpha1.AWSCapability) { a.Scope[0].Resources = []string{"arn:aws:s3:::previews\n"} },
		"a quotation mark":                  func(a *v1alpha1.AWSCapability) { a.Scope[0].Resources = []string{`arn:aws:s3:::previews","*`} },
		"a resource of another partition":   func(a *v1alpha1.AWSCapability) { a.Scope[0].Resources = []string{"arn:aws-cn:s3:::previews"} },
		"a role of another partition":       func(a *v1alpha1.AWSCapability) { a.RoleARN = "arn:aws-us-gov:iam::123456789012:role/r" },
		"one bad resource among good ones":  func(a *v1alpha1.AWSCapability) { a.Scope[0].Resources = []string{"arn:aws:s3:::previews/x", "*"} },
		"one bad statement among good ones": func(a *v1alpha1.AWSCapability) { a.Scope = append(a.Scope, v1alpha1.AWSStatement{}) },
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			c := scoped("arn:aws:s3:::previews/${request.repo}/*")
			spoil(c.Spec.AWS)
			if got, err := render(c, someValues()); err == nil {
				t.Errorf("rendered: %s", got.Document)
			}
		})
	}
	if _, err := render(&v1alpha1.Capability{}, someValues()); err == nil {
		t.Error("a capability of another back end was rendered")
	}
}

// document makes a scope whose policy has exactly that many characters.
func document(t *testing.T, length int) *v1alpha1.Capability {
	t.Helper()
	const prefix = "arn:aws:s3:::"
	shortest, err := render(scoped(prefix+"x"), someValues())
	if err != nil {
		t.Fatal(err)
	}
	return scoped(prefix + strings.Repeat("x", length-len(shortest.Document)+1))
}

func TestAPolicyFillsSTSsLimitAndNoMore(t *testing.T) {
	got, err := render(document(t, 2048), someValues())
	if err != nil || len(got.Document) != 2048 {
		t.Errorf("2048 characters: got %d, %v", len(got.Document), err)
	}
	if _, err := render(document(t, 2049), someValues()); err == nil {
		t.Error("2049 characters were rendered")
	}
}

func TestNoRequestMakesALongerPolicyThanTheLongestValues(t *testing.T) {
	c := scoped("arn:aws:s3:::previews/${request.repo}/${request.environment}/${request.namespace}/*")
	most, err := render(c, provider.Longest(c))
	if err != nil {
		t.Fatal(err)
	}
	for _, longer := range []provider.Values{
		{Repo: provider.Longest(c).Repo + "r", Environment: provider.Longest(c).Environment, Namespace: provider.Longest(c).Namespace},
		{Repo: provider.Longest(c).Repo, Environment: provider.Longest(c).Environment + "e", Namespace: provider.Longest(c).Namespace},
		{Repo: provider.Longest(c).Repo, Environment: provider.Longest(c).Environment, Namespace: provider.Longest(c).Namespace + "n"},
	} {
		if got, err := render(c, longer); err == nil {
			t.Errorf("a policy of %d characters was rendered, the longest was said to have %d", len(got.Document), len(most.Document))
		}
	}
}

// matches is IAM's matching of resources: * stands for any characters, / and none included, and ? for one.
func matches(pattern, resource string) bool {
	switch {
	case pattern == "":
		return resource == ""
	case pattern[0] == '*':
		return matches(pattern[1:], resource) || resource != "" && matches(pattern, resource[1:])
	case resource == "":
		return false
	default:
		return (pattern[0] == '?' || pattern[0] == resource[0]) && matches(pattern[1:], resource[1:])
	}
}

func TestIAMsMatchingIsUnderstood(t *testing.T) {
	tests := []struct {
		pattern, resource string
		want              bool
	}{
		{"a/*", "a/b", true}, {"a/*", "a/b/c", true}, {"a/*", "a/", true}, {"a/*", "ab", false}, {"a*", "ab", true},
		{"a?c", "abc", true}, {"a?c", "ac", false}, {"*", "", true}, {"a", "a", true}, {"a", "A", false}, {"a*c*e", "abcde", true}, {"a*c*e", "abde", false},
	}
	for _, test := range tests {
		if got := matches(test.pattern, test.resource); got != test.want {
			t.Errorf("%s and %s: got %t", test.pattern, test.resource, got)
		}
	}
}

// FuzzAScopeStaysWhereItsTemplatePutsIt lets the requester choose every value, and an attacker any resource: what the policy
// reaches is below the fixed part of the template and this request's own values, whatever they are.
func FuzzAScopeStaysWhereItsTemplatePutsIt(f *testing.F) {
	for _, seed := range [][4]string{
		{"web-app", "preview", "agents", "web-app/preview/agents/index.html"}, {"*", "preview", "agents", "other/preview/agents/x"},
		{"../secret", "preview", "agents", "secret"}, {"web", "preview", "agents", "web-app/preview/agents/x"}, {"acme/web", "*", "agents", "acme/web"},
		{"web?", "a", "b", "webs/a/b/x"}, {"${request.namespace}", "a", "b", "b/a/b/x"}, {"a\",\"*", "a", "b", "x"}, {"a", "b", "c\n", "a/b/c/x"},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3])
	}
	const fixed = "arn:aws:s3:::previews/"
	c := scoped(fixed + "${request.repo}/${request.environment}/${request.namespace}/*")
	f.Fuzz(func(t *testing.T, repo, environment, namespace, attempt string) {
		scope, err := render(c, provider.Values{Repo: repo, Environment: environment, Namespace: namespace})
		if err != nil {
			return
		}
		var policy policyDocument
		if err := json.Unmarshal([]byte(scope.Document), &policy); err != nil {
			t.Fatalf("no JSON: %v", err)
		}
		own := fixed + repo + "/" + environment + "/" + namespace + "/"
		want := policyDocument{Version: "2012-10-17", Statement: []policyStatement{{Effect: "Allow", Action: []string{"s3:PutObject"}, Resource: []string{own + "*"}}}}
		if diff := cmp.Diff(want, policy); diff != "" {
			t.Fatalf("another policy than the template's (-want +got):\n%s", diff)
		}
		if strings.Contains(repo, "..") || strings.Contains(repo, "//") {
			t.Errorf("repo %q leaves its place", repo)
		}
		if len(attempt) > 256 {
			return
		}
		for _, resource := range []string{attempt, "arn:aws:s3:::" + attempt, fixed + attempt, own + attempt} {
			if reached := matches(policy.Statement[0].Resource[0], resource); reached != strings.HasPrefix(resource, own) {
				t.Errorf("resource %q is reached: %t; the request's own begin with %q", resource, reached, own)
			}
		}
	})
}
