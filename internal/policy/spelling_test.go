// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// onGitHub makes the capability one of GitHub, for any repository of acme, and allows it for any.
func (w *world) onGitHub() {
	w.Capability.Spec.GitHub = &v1alpha1.GitHubCapability{Owner: "acme", Repositories: []string{"*"}}
	w.preview().Repos = []string{"*"}
}

// except adds a Deny of some repos.
func (w *world) except(repos ...string) {
	p := deny("no-payments")
	p.Spec.Repos = repos
	w.add(p)
}

func asks(repo string) func(*world) { return func(w *world) { w.Request.Spec.Repo = repo } }

func TestDeny_NoSpellingOfARepositoryIsPastIt(t *testing.T) {
	denies := func(given ...func(*world)) func(*world) {
		return func(w *world) {
			w.onGitHub()
			w.except("payments")
			for _, g := range given {
				g(w)
			}
		}
	}
	refused := func(name, asked, says string) row {
		return row{name: name, given: denies(asks(asked)), verdict: Deny, reason: v1alpha1.ReasonNameRefused, says: []string{says}}
	}
	denied := func(name string, given func(*world)) row {
		return row{name: name, given: given, verdict: Deny, reason: v1alpha1.ReasonDeniedByPolicy, policy: "no-payments", says: []string{"policy no-payments denies it"}}
	}
	listing := func(repos ...string) func(*world) {
		return func(w *world) { w.onGitHub(); w.except(repos...); w.Request.Spec.Repo = "payments" }
	}
	run(t, []row{
		denied("its own", denies(asks("payments"))),
		refused("with its owner", "acme/payments", "write repo as payments, not acme/payments"),
		refused("with its owner in capitals", "ACME/payments", "write repo as payments, not ACME/payments"),
		refused("in capitals", "Payments", "write repo as payments, not Payments"),
		refused("all of it in capitals", "ACME/PAYMENTS", "write repo as payments, not ACME/PAYMENTS"),
		refused("of another owner", "mallory/payments", "is not of acme"),
		{name: "of another owner, where no policy allows it", given: denies(asks("mallory/payments"), func(w *world) { w.preview().Repos = []string{"web-app"} }),
			verdict: Deny, reason: v1alpha1.ReasonDeniedByPolicy, policy: "preview-builds", says: []string{"allows repos web-app"}},
		refused("a name that climbs", "web/../payments", `repo "web/../payments" is not allowed`),
		refused("a name with a wildcard", "paymen?s", `is not allowed; allowed are letters`),
		{name: "another", given: denies(asks("web-app")), verdict: Allow, reason: v1alpha1.ReasonAllowed, policy: "preview-builds"},
		denied("a Deny that names the owner", listing("acme/payments")),
		denied("a Deny that names the owner in capitals", listing("ACME/Payments")),
		denied("a Deny in capitals", listing("Payments")),
		denied("a Deny of all that is the owner's", listing("Acme/*")),
		{name: "a Deny of another owner's", given: listing("mallory/*"), verdict: Allow, reason: v1alpha1.ReasonAllowed, policy: "preview-builds"},
		denied("a Deny in capitals where the back end tells case apart", func(w *world) {
			w.Capability.Spec.AWS = &v1alpha1.AWSCapability{}
			w.except("Web-*")
		}),
		denied("a Deny of an environment in capitals", func(w *world) {
			w.Capability.Spec.AWS = &v1alpha1.AWSCapability{}
			w.except()
			w.policies[1].Spec.Environments = []string{"Preview"}
		}),
		{name: "an environment in capitals", given: denies(func(w *world) { w.Request.Spec.Environment = "Preview" }), verdict: Deny,
			reason: v1alpha1.ReasonNameRefused, says: []string{"write environment as preview, not Preview"}},
		{name: "a living grant whose name was taken before", given: denies(asks("ACME/payments"), func(w *world) { w.GrantedBy = "preview-builds" }), verdict: Deny,
			reason: v1alpha1.ReasonNameRefused, says: []string{"write repo as payments"}},
	})
}

func TestAllow_NamesMeanWhatTheyMeanToTheBackEnd(t *testing.T) {
	allowing := func(repos ...string) func(*world) { return func(w *world) { w.onGitHub(); w.preview().Repos = repos } }
	allowed := func(name string, given func(*world)) row {
		return row{name: name, given: given, verdict: Allow, reason: v1alpha1.ReasonAllowed, policy: "preview-builds"}
	}
	missed := func(name string, given func(*world), says string) row {
		return row{name: name, given: given, verdict: Deny, reason: v1alpha1.ReasonDeniedByPolicy, policy: "preview-builds", says: []string{says}}
	}
	run(t, []row{
		allowed("GitHub's with the owner", allowing("acme/web-app")),
		allowed("GitHub's in capitals", allowing("ACME/Web-App")),
		allowed("all that is the owner's", allowing("acme/*")),
		missed("another owner's", allowing("mallory/web-app"), "allows repos mallory/web-app"),
		missed("AWS's in capitals are others", func(w *world) {
			w.Capability.Spec.AWS = &v1alpha1.AWSCapability{}
			w.preview().Repos = []string{"Web-App"}
		}, "allows repos Web-App"),
		missed("AWS's environments in capitals are others", func(w *world) {
			w.Capability.Spec.AWS = &v1alpha1.AWSCapability{}
			w.preview().Environments = []string{"Preview"}
		}, "allows environments Preview"),
	})
}

// TestDeny_NoSpellingIsPastAnExpression: where the back end tells case apart, another spelling is another name, and yet
// what a Deny keeps out is not asked for in capitals.
func TestDeny_NoSpellingIsPastAnExpression(t *testing.T) {
	asking := func(repo, environment string, expressions ...string) func(*world) {
		return func(w *world) {
			w.Capability.Spec.AWS = &v1alpha1.AWSCapability{}
			w.preview().Repos, w.preview().Environments = []string{"*"}, []string{"*"}
			w.Request.Spec.Repo, w.Request.Spec.Environment = repo, environment
			p := deny("no-payments")
			for _, e := range expressions {
				p.Spec.When = append(p.Spec.When, when(e, "nobody may")...)
			}
			w.add(p)
		}
	}
	var rows []row
	denied := func(repo, environment string, expressions ...string) {
		rows = append(rows, row{name: repo + " " + environment + " " + strings.Join(expressions, " "), given: asking(repo, environment, expressions...), verdict: Deny,
			reason: v1alpha1.ReasonDeniedByPolicy, policy: "no-payments", says: []string{"policy no-payments denies it"}})
	}
	allowed := func(repo, environment string, expressions ...string) {
		rows = append(rows, row{name: repo + " " + environment + " " + strings.Join(expressions, " "), given: asking(repo, environment, expressions...), verdict: Allow,
			reason: v1alpha1.ReasonAllowed, policy: "preview-builds"})
	}
	for _, expression := range []string{
		"request.repo == 'payments'", "request.repo in ['payments']", "[request.repo][0] == 'payments'",
		"string(request.repo) == 'payments'", "dyn(request.repo) == 'payments'", "request.repo + '' == 'payments'",
		"{'payments': true}[?request.repo].orValue(false)", "!('payments' != request.repo)",
		"['payments'].exists(x, x == request.repo)", "request.repo.startsWith('pay')", "request.repo.matches('^payments$')",
		"(request.repo == 'payments' ? 1 : 0) == 1", "request.repo.find('^payments$') != ''",
		"request.repo >= 'payments' && request.repo <= 'payments'", "request.repo.split('/')[0] == 'payments'",
		"request.repo.replace('payments','') == ''", "'xpaymentsx'.contains(request.repo)", "request.repo.indexOf('payments') == 0",
		"request.repo.charAt(0) == 'p'", "'%s'.format([request.repo]) == 'payments'",
		"request.repo + '/' + request.environment == 'payments/preview'", "sets.contains(['payments'],[request.repo])",
		"[request].exists(r, r.repo == 'payments')", "'pay' + 'ments' == request.repo",
	} {
		denied("payments", "preview", expression)
		denied("Payments", "preview", expression)
		denied("PAYMENTS", "Preview", expression)
		allowed("web-app", "preview", expression)
	}
	for _, expression := range []string{
		"request.repo == 'PayMents'", "request.repo in ['billing', 'PayMents']", "request.repo.startsWith('PayM')", "request.repo.contains('yM')",
		"request.repo.matches('^Pay.*$')", "'Pay' + 'Ments' == request.repo", "['PayMents'].exists(x, x == request.repo)",
	} {
		denied("payments", "preview", expression)
		denied("PAYMENTS", "preview", expression)
		allowed("web-app", "preview", expression)
	}
	denied("web-app", "Production", "request.environment == 'production'")
	denied("web-app", "production", "request.environment == 'Production'")
	denied("Payments", "Production", "request.repo == 'payments' && request.environment == 'production'")
	denied("Payments", "Production", "request.repo == 'payments'", "request.environment == 'production'")
	denied("Payments", "preview", "request.repo == 'payments' && request.environment != 'Preview'")
	denied("web-app", "Preview", "request.environment != 'preview'")
	allowed("web-app", "preview", "request.environment != 'preview'")
	allowed("Payments", "preview", "request.repo == 'payments' && request.environment == 'production'")
	allowed("Payments", "preview", "request.repo == 'payments'", "request.environment == 'production'")
	allowed("Payments", "preview", "request.actor == 'payments'")
	for _, exception := range []string{
		"request.environment != 'Production'", "!(request.environment in ['Production', 'staging'])", "!request.environment.startsWith('Prod')",
		"!request.environment.matches('^Prod')", "request.environment == 'Production' ? request.ttlSeconds > 3600 : true",
		"!['Production'].exists(x, x == request.environment)", "request.environment != 'Production' && request.repo != 'prod'",
	} {
		allowed("web-app", "Production", exception)
		denied("web-app", "production", exception)
	}
	denied("Payments", "preview", "request.repo in ['payments', 'Pay', 'P']")
	denied("Payments", "preview", "request.repo == 'payments' && request.environment != 'P'")
	denied("Payments", "preview", "request.repo.matches('^(payments|Pay)$')")
	denied("AYM", "preview", "'xPaymentsx'.contains(request.repo)")
	denied("AAAABBBBCCCCDDDDEEEE", "preview", "request.repo.matches('aaaa|bbbb|cccc|dddd|eeee|aaaab|aaaabb|aaaabbb|x')")
	denied("web-app", "production", "request.environment == 'Production' && !('production' in job.labels)")
	denied("web-app", "Production", "request.environment == 'production' && !request.taskID.startsWith('INC-')")
	denied("pay-core", "preview", "request.ttlSeconds > 60 ? request.repo.startsWith('PAY') : request.repo.startsWith('pay-core')")
	denied("foo", "Production", "request.repo != 'Foo' && request.environment == 'production'")
	denied("foo", "Production", "request.repo != 'Foo'", "request.environment == 'production'")
	allowed("Foo", "production", "request.repo != 'Foo' && request.environment == 'production'")
	denied("web-app", "Production", "[request].exists(r, r.environment == 'production')")
	for _, expression := range []string{
		"request.?environment.orValue('') == 'Production'", "dyn(request).environment == 'Production'",
		"(request.environment == 'Production' && !request.taskID.startsWith('INC-')) == true", "(request.environment == 'Production') != false",
		"['staging', 'Production'].exists(e, request.environment == e && !request.taskID.startsWith('INC-'))",
		"request.requester.groups.exists(g, g.startsWith('system:') && request.environment == 'Production')",
		"['staging', 'Production'].exists_one(e, request.environment == e)", "['staging', 'Production'].filter(e, request.environment == e).size() > 0",
		"['staging', 'Production'].map(e, e + '!').exists(e, e == request.environment + '!')", "!['staging', 'Production'].all(e, e != request.environment)",
		"request.ttlSeconds > (request.environment == 'Production' && !request.taskID.startsWith('INC-') ? 60 : 3600)",
		"{'staging': 60, 'Production': 60, 'preview': 3600}[request.environment] < request.ttlSeconds",
		"{'a': {'Production': true}}[?'a'][?request.environment].orValue(false)", "optional.of({'Production': true})[?request.environment].orValue(false)",
		"optional.of({'Production': true})[request.environment].orValue(false)", "[['Production'], ['staging']][0][int(request.environment.size() - request.environment.size())] == request.environment",
		"request.environment.matches('^Pro[D-d]\\\\S+$')", "matches(request.environment, 'Prod')", "request.environment.findAll('Prod').size() > 0", "'Production'.matches('^' + request.environment + '$')",
		"request.environment.upperAscii() == 'PRODUCTION'", "request.environment.substring(0, 4) == 'Prod'",
		strings.Repeat("(", 30) + "request.environment == 'Production'" + strings.Repeat(" ? true : false)", 30),
	} {
		denied("web-app", "production", expression)
		denied("web-app", "PRODUCTION", expression)
		allowed("web-app", "preview", expression)
	}
	denied("web-app", "preview", "job.labels['Team'] != request.repo")
	denied("WEB", "preview", "job.labels['team'] != request.repo")
	allowed("web", "preview", "job.labels['team'] != request.repo")
	denied("web-app", "production", "request.environment == 'Production' && request.environment != 'PRODUCTION'")
	allowed("web-app", "PRODUCTION", "request.environment == 'Production' && request.environment != 'PRODUCTION'")
	for _, expression := range []string{
		"{request.environment: true}[?'Production'].orValue(false)", "has({request.environment: true}.Production)", "'Production' in {request.environment: true}",
	} {
		denied("web-app", "production", expression, "true")
	}
	allowed("web-app", "preview", "!request.requester.username.contains(request.repo)")
	allowed("web-app", "preview", "request.repo.size() > 7")
	run(t, rows)
}

func TestDeny_AnotherSpellingIsExplained(t *testing.T) {
	w := newWorld()
	w.Capability.Spec.AWS = &v1alpha1.AWSCapability{}
	w.Request.Spec.Repo = "Payments"
	p := deny("no-payments")
	p.Spec.When = when("request.repo == 'payments'", "nobody may")
	w.add(p)
	decision := w.decide(t)
	if want := "policy no-payments denies it: nobody may"; decision.Message != want {
		t.Errorf("got %q, want %q", decision.Message, want)
	}
	_, all := Explain(w.Facts)
	if c := all[0].Clauses[len(all[0].Clauses)-1]; all[0].Policy != "no-payments" || all[0].Matches != HoldsYes || c.Holds != HoldsYes {
		t.Errorf("got %+v", all[0])
	}
}

func TestAllow_AnExpressionSeesTheNameAsItIs(t *testing.T) {
	run(t, []row{{name: "in capitals", given: func(w *world) {
		w.Capability.Spec.AWS = &v1alpha1.AWSCapability{}
		w.preview().Repos = []string{"*"}
		w.preview().When = when("request.repo == 'payments'", "payments alone")
		w.Request.Spec.Repo = "Payments"
	}, verdict: Deny, reason: v1alpha1.ReasonDeniedByPolicy, policy: "preview-builds", says: []string{"asks: payments alone"}}})
}

func TestDeny_NobodyIsPastItInCapitals(t *testing.T) {
	forbidding := func(s v1alpha1.Subject) func(*world) {
		return func(w *world) {
			w.Request.Spec.Requester = v1alpha1.Identity{Username: "Mallory@example.com", Groups: []string{"Interns"}}
			w.Job.Annotations[v1alpha1.AnnotationCreatedBy] = "Mallory@example.com"
			w.preview().Requesters = []v1alpha1.Subject{{Kind: v1alpha1.SubjectUser, Name: "Mallory@example.com"}}
			p := deny("not-mallory")
			p.Spec.Requesters = []v1alpha1.Subject{s}
			w.add(p)
		}
	}
	denied := func(name string, s v1alpha1.Subject) row {
		return row{name: name, given: forbidding(s), verdict: Deny, reason: v1alpha1.ReasonDeniedByPolicy, policy: "not-mallory"}
	}
	run(t, []row{
		denied("by name", v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: "mallory@example.com"}),
		denied("by group", v1alpha1.Subject{Kind: v1alpha1.SubjectGroup, Name: "interns"}),
		{name: "an Allow names people as the API server knows them", given: func(w *world) {
			forbidding(v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: "somebody"})(w)
			w.preview().Requesters[0].Name = "mallory@example.com"
		}, verdict: Deny, reason: v1alpha1.ReasonDeniedByPolicy, says: []string{"no policy lets Mallory@example.com ask"}},
	})
}

func TestImpossible_NamesThatNoRequestHasAreFound(t *testing.T) {
	github := &v1alpha1.Capability{ObjectMeta: metav1.ObjectMeta{Name: "artifacts"}, Spec: v1alpha1.CapabilitySpec{GitHub: &v1alpha1.GitHubCapability{Owner: "acme", Repositories: []string{"*"}}}}
	aws := &v1alpha1.Capability{ObjectMeta: metav1.ObjectMeta{Name: "publish"}, Spec: v1alpha1.CapabilitySpec{AWS: &v1alpha1.AWSCapability{}}}
	owned := &v1alpha1.Capability{ObjectMeta: metav1.ObjectMeta{Name: "upload"}, Spec: v1alpha1.CapabilitySpec{RepoParts: 2, AWS: &v1alpha1.AWSCapability{}}}
	vault := &v1alpha1.Capability{ObjectMeta: metav1.ObjectMeta{Name: "read"}, Spec: v1alpha1.CapabilitySpec{Vault: &v1alpha1.VaultCapability{}}}
	compiler := newCompiler(t)
	for _, tt := range []struct {
		name       string
		about      []string
		repos      []string
		expression string
		// want are words of each sentence.
		want []string
	}{
		{"nothing", []string{"artifacts"}, []string{"payments", "acme/payments", "Acme/*"}, "request.repo == 'payments'", nil},
		{"another owner's", []string{"artifacts"}, []string{"payments", "mallory/*"}, "true", []string{"repos: no request can have mallory/*: mend the name"}},
		{"another owner's, which another capability can have", []string{"artifacts", "upload"}, []string{"mallory/*"}, "true", nil},
		{"with an owner, of a capability whose names have none", []string{"publish"}, []string{"acme/payments"}, "true", []string{"repos: no request can have acme/payments: mend the name"}},
		{"without an owner, of a capability whose names have one", []string{"upload"}, []string{"payments", "pay*"}, "true", []string{"repos: no request can have payments, pay*: mend the name"}},
		{"any, of a capability whose names have an owner", []string{"upload"}, []string{"*"}, "true", nil},
		{"of any capability", []string{"*"}, []string{"mallory/*"}, "true", nil},
		{"a name that climbs", []string{"*"}, []string{"../payments"}, "true", []string{"repos: no request can have ../payments"}},
		{"an expression with the owner", []string{"artifacts"}, nil, "request.repo == 'acme/payments'",
			[]string{`when[0]: it compares request.repo with "acme/payments", which no request has: write "payments", as those requests do`}},
		{"an expression in capitals", []string{"read"}, nil, "'Payments' != request.repo", []string{`"Payments", which no request has: write "payments"`}},
		{"an expression in capitals, where case is told apart", []string{"publish"}, nil, "request.repo == 'Payments'", nil},
		{"an expression with a list", []string{"artifacts"}, nil, "request.repo in ['web-app', 'acme/payments', 'Payments']", []string{`"acme/payments"`, `"Payments"`}},
		{"an expression that begins with the owner", []string{"artifacts"}, nil, "request.repo.startsWith('acme/')", []string{`"acme/", which no request has`}},
		{"an expression that begins in lower case", []string{"artifacts"}, nil, "request.repo.startsWith('pay') || request.repo.endsWith('-x')", nil},
		{"an expression amid others", []string{"artifacts"}, nil, "request.ttlSeconds < 900 && !(request.repo.contains('Pay'))", []string{`"Pay", which no request has: write "pay"`}},
		{"an expression of environments", []string{"artifacts"}, nil, "request.environment == 'Production'", []string{`request.environment with "Production", which no request has: write "production"`}},
		{"an expression with a name that climbs", []string{"publish"}, nil, "request.repo == '../x'", []string{`"../x", which no request has: compare repos and environments by the policy's own fields`}},
		{"an expression that begins as no environment can", []string{"publish"}, nil, "request.environment.startsWith('prod/')", []string{`"prod/", which no request has`}},
		{"an expression that ends so", []string{"publish"}, nil, "request.environment.endsWith('.prod')", []string{`".prod", which no request has`}},
		{"an expression with a piece that none has", []string{"publish"}, nil, "request.environment.contains('prod.eu')", []string{`"prod.eu", which no request has`}},
		{"an expression of repos that end as none can", []string{"publish"}, nil, "request.repo.endsWith('.git')", []string{`".git", which no request has`}},
		{"an expression of repos that begin so", []string{"upload"}, nil, "request.repo.startsWith('git@github.com:')", []string{`"git@github.com:", which no request has`}},
		{"an expression of repos that climb", []string{"upload"}, nil, "request.repo.contains('..')", []string{`"..", which no request has`}},
		{"an expression of a folder that has none", []string{"publish"}, nil, "request.repo.startsWith('acme/')", []string{`"acme/", which no request has`}},
		{"an expression of a folder", []string{"upload"}, nil, "request.repo.startsWith('acme/') || request.repo.endsWith('/x') || request.repo.contains('/') || request.repo.contains('')", nil},
		{"an expression with a pattern", []string{"publish"}, nil, "request.repo == 'web-*'", []string{`"web-*", which no request has`}},
		{"an expression that is too long", []string{"publish"}, nil, "request.environment.contains('" + strings.Repeat("a", 64) + "')", []string{"which no request has"}},
		{"an expression about something else", []string{"artifacts"}, nil, "request.actor == 'Acme/X' && request.requester.username == 'Acme/X'", nil},
		{"an expression that changes the name first", []string{"artifacts"}, nil, "request.repo.upperAscii() == 'PAYMENTS'", nil},
		{"a capability that does not exist", []string{"absent"}, []string{"mallory/Payments"}, "request.repo == 'Payments'", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := deny("p")
			p.Spec.Capabilities, p.Spec.Repos, p.Spec.When = tt.about, tt.repos, when(tt.expression, "as asked")
			compiled := compiler.Compile(p)
			if err := compiled.Err(); err != nil {
				t.Fatal(err)
			}
			got := compiled.Impossible([]*v1alpha1.Capability{github, aws, owned, vault})
			if len(got) != len(tt.want) || slices.ContainsFunc(tt.want, func(words string) bool {
				return !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, words) })
			}) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestPartial_TextsThatSomeBackEndsWriteOtherwiseAreFound(t *testing.T) {
	github := &v1alpha1.Capability{ObjectMeta: metav1.ObjectMeta{Name: "artifacts"}, Spec: v1alpha1.CapabilitySpec{GitHub: &v1alpha1.GitHubCapability{Owner: "acme", Repositories: []string{"*"}}}}
	aws := &v1alpha1.Capability{ObjectMeta: metav1.ObjectMeta{Name: "publish"}, Spec: v1alpha1.CapabilitySpec{AWS: &v1alpha1.AWSCapability{}}}
	owned := &v1alpha1.Capability{ObjectMeta: metav1.ObjectMeta{Name: "upload"}, Spec: v1alpha1.CapabilitySpec{RepoParts: 2, AWS: &v1alpha1.AWSCapability{}}}
	compiler := newCompiler(t)
	for _, tt := range []struct {
		name, expression string
		// words of the one sentence; empty for none.
		words string
	}{
		{"the same for all", "request.repo == 'payments' && request.environment != 'production'", ""},
		{"with the owner, which GitHub's leave out", "request.repo == 'acme/payments'", `when[0]: it compares request.repo with "acme/payments", which no request for artifacts has: write "payments", as those requests do`},
		{"with the owner and without", "request.repo in ['acme/payments', 'payments']", ""},
		{"with the owner or without", "request.repo == 'acme/payments' || request.repo == 'payments'", ""},
		{"in capitals", "request.environment == 'Production'", `"Production", which no request for artifacts has: write "production"`},
		{"another owner's, which GitHub's cannot mean", "request.repo == 'mallory/payments'", ""},
		{"all of the owner's", "request.repo.startsWith('acme/')", `"acme/", which no request for artifacts has: compare repos and environments by the policy's own fields`},
		{"one that none has is another matter", "request.repo == '../x'", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := deny("p")
			p.Spec.When = when(tt.expression, "as asked")
			got := compiler.Compile(p).Partial([]*v1alpha1.Capability{aws, owned, github})
			if (len(got) == 0) != (tt.words == "") || len(got) > 1 || (len(got) == 1 && !strings.Contains(got[0], tt.words)) {
				t.Errorf("got %q, want %q", got, tt.words)
			}
		})
	}
}

func TestOpaque_FormsThatAreNotLookedIntoAreFound(t *testing.T) {
	compiler := newCompiler(t)
	for _, tt := range []struct {
		expression      string
		inDeny, inAllow bool
	}{
		{"request.repo == 'payments' && 'production' != request.environment", false, false},
		{"request.repo in ['payments', 'billing'] || !(request.repo.startsWith('pay'))", false, false},
		{"request.ttlSeconds < 900 && request.requester.username == 'alice'", false, false},
		{"request.requester.username == 'system:serviceaccount:agents:' + request.repo + '-bot'", true, false},
		{"request.repo.lowerAscii() == 'payments'", true, false},
		{"request.repo.matches('^acme/pay')", true, false},
		{"!request.repo.matches('^acme/pay')", true, true},
		{"request.repo.matches('^[a-z]+-v[0-9]$') || request.repo.matches('(?i)^[a-z0-9_.-]{2,40}$')", true, false},
		{"request.repo.matches('^[^p].*$')", true, true},
		{"request.repo.matches('^\\\\D+$')", true, true},
		{"request.repo.matches('^[[:^upper:]]+$')", true, true},
		{"request.repo.matches('^\\\\P{Lu}+$')", true, true},
		{"request.repo.matches('^([a-oq-z].*|p[a-qs-z].*)$')", true, true},
		{"request.repo.matches('pay\\\\B')", true, true},
		{"request.repo.matches('^[12]$') || request.repo.matches('^pay[abc]$')", true, false},
		{"request.repo + '' != 'acme/payments'", true, true},
		{"!['acme/payments'].exists(one, one == request.repo)", true, true},
		{"['acme/payments'].exists(one, one == request.repo)", true, false},
		{"[request].exists(one, one.repo == 'acme/payments')", true, true},
		{"request.repo in ['acme/' + 'payments']", true, false},
		{"(request.environment == 'preview' ? 'x' : request.repo) == 'acme/payments'", true, true},
		{"request.repo.size() == 3", true, true},
		{"request.repo < 'acme0' && request.repo > 'acme-'", true, true},
		{"!(request.ttlSeconds > 900) && request.repo.matches('x')", true, false},
		{"request.repo == request.environment", true, true},
		{"request.repo.split('-')[0] == 'web'", true, false},
		{"request.requester.extra[?'github.com/repository'].orValue([]) == ['acme/' + request.repo]", true, false},
		{"['acme/' + request.repo] == ['acme/web-app'] ? true : request.ttlSeconds < 900", true, true},
		{"request.environment.matches('^Prod') == false", true, true},
		{"false == request.environment.matches('^Prod')", true, true},
		{"request.repo.split('-')[0] == 'Web' ? false : true", true, true},
		{"request.ttlSeconds > 900 ? request.repo.matches('x') : true", true, false},
		{"['Pay'].filter(one, request.repo.startsWith(one)).size() == 0", true, true},
		{"['Pay'].all(one, request.repo.matches(one))", true, true},
		{"['Pay'].exists_one(one, request.repo.matches(one))", true, true},
		{"request.environment.matches('^[^P]')", true, true},
		{"request.environment.replace('Prod', '') == request.environment", true, true},
		{"request.repo.split('Payments')[0] == request.repo", true, true},
		{"[request.repo.split('Payments')[0]] == [request.repo]", true, true},
		{"request.repo.split('Payments')[0] in [request.repo]", true, true},
		{"request.repo in ['web-app', request.repo.split('Payments')[0]]", true, true},
		{"request.repo.split('Payments')[0].endsWith(request.repo)", true, true},
		{"request.repo.lowerAscii().split('Payments')[0] == request.repo", true, true},
		{"['Payments', 'Infra'].exists(n, request.repo.split(n)[0] == request.repo)", true, true},
		{"'Payments'.split(request.repo)[0] == 'Payments'", true, true},
		{"'Payments'.split(request.repo, 2)[0] == 'Payments'", true, true},
		{"request.repo.split('Payments')[0] == request.taskID", true, true},
		{"[request.actor].exists(a, request.repo.split('Payments')[0] == a)", true, true},
		{"job.labels['repo'] == request.repo.split('Payments')[0]", true, true},
		{"request.repo.split('Payments')[0] == (request.ttlSeconds > 0 ? request.repo : '')", true, true},
		{"request.repo.split('Payments')[0] == 'web-app'", true, false},
		{"['web', 'api'].exists(n, request.repo.split('-')[0] == n)", true, false},
		{"request.requester.groups.exists(g, g == 'team-' + request.repo)", true, false},
		{"request.namespace == request.repo.split('-')[0]", true, false},
		{"'web-app'.startsWith(request.repo.lowerAscii())", true, false},
		{"'repo:' + request.repo in request.requester.groups", true, false},
	} {
		t.Run(tt.expression, func(t *testing.T) {
			for effect, want := range map[v1alpha1.PolicyEffect]bool{v1alpha1.EffectDeny: tt.inDeny, v1alpha1.EffectAllow: tt.inAllow} {
				p := deny("p")
				p.Spec.Effect, p.Spec.When = effect, when(tt.expression, "as asked")
				compiled := compiler.Compile(p)
				if err := compiled.Err(); err != nil {
					t.Fatal(err)
				}
				got := compiled.Opaque()
				if (len(got) == 1) != want || (want && !strings.HasPrefix(got[0], "when[0]: it reads request.repo or request.environment otherwise than by")) {
					t.Errorf("%s: got %q, want a finding: %t", effect, got, want)
				}
			}
		})
	}
}
