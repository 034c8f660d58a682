// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// update writes the page: go test ./internal/provider/kubernetes/ -run TestTable_ThePageShowsIt -args -update.
var update = flag.Bool("update", false, "write the table of docs/backends/kubernetes.md")

const repository = "../../.."

func TestTable_EachRowSaysOneThingOnce(t *testing.T) {
	for _, rows := range []table{known(), opening()} {
		seen := map[string]string{}
		for _, e := range rows {
			if !slices.Contains([]effect{harmless, shared, escalates, disrupts, opens}, e.effect) || len(e.words) < 10 ||
				strings.ContainsAny(e.words[len(e.words)-1:], ".;, ") {
				t.Errorf("%s: %s: %q", e.kind, e.effect, e.words)
			}
			for _, verb := range strings.Fields(e.verbs) {
				one := verb + " " + e.String()
				if before, twice := seen[one]; twice {
					t.Errorf("%s: %q and %q", one, before, e.words)
				}
				seen[one] = e.words
			}
		}
	}
}

// TestTable_WhatIsHarmlessReads: lint wants nobody's approval for a capability that accepts nothing, or nothing but
// OpenConnections, which is looked up beside what a right gives.
func TestTable_WhatIsHarmlessReads(t *testing.T) {
	reading := append(strings.Fields(reads), "head")
	for _, e := range known() {
		for _, verb := range strings.Fields(e.verbs) {
			if e.effect == harmless && !slices.Contains(reading, verb) {
				t.Errorf("%s %s writes, and is harmless", verb, e.kind)
			}
		}
	}
}

// TestTable_EachRowIsHeld binds each row's verbs on each of its kinds, and sees that a capability has to accept what
// the row says.
func TestTable_EachRowIsHeld(t *testing.T) {
	for _, e := range slices.Concat(known(), opening()) {
		verbs := strings.Split(strings.ReplaceAll(strings.Join(strings.Fields(e.verbs), ","), "*", "some"), ",")
		found := slices.DeleteFunc(provides(nil).judge(e.bound(verbs...)), func(f finding) bool {
			return (f.needs == v1alpha1.AcceptOpenConnections) != (e.effect == opens) ||
				e.effect == opens && f.why != e.words
		})
		if e.isHarmless() {
			if len(found) > 0 {
				t.Errorf("%s %s is harmless, and: %v", e.verbs, e.kind, found)
			}
			continue
		}
		if len(found) != 1 || string(found[0].needs) != string(e.effect) || found[0].why != e.words {
			t.Errorf("%s %s: %v, want %s", e.verbs, e.kind, found, e.effect)
		}
	}
}

// TestTable_AWatchOfAnyKindIsHeld, but of what every cluster gives everybody.
func TestTable_AWatchOfAnyKindIsHeld(t *testing.T) {
	for _, e := range known() {
		if e.url != "" || known().gives("watch", e.kind) {
			continue
		}
		if !slices.ContainsFunc(provides(nil).judge(e.bound("watch")), func(f finding) bool {
			return f.needs == v1alpha1.AcceptOpenConnections
		}) {
			t.Errorf("a watch of %s goes on, and need not be accepted", e.kind)
		}
	}
}

// bound is a right to do all this on the kind of the entry.
func (e entry) bound(verbs ...string) right {
	r := rbacv1.PolicyRule{Verbs: verbs, APIGroups: []string{e.group},
		Resources: []string{kind{resource: e.resource, subresource: e.subresource}.String()}}
	if e.url != "" {
		r = rbacv1.PolicyRule{Verbs: verbs, NonResourceURLs: []string{e.url}}
	}
	if e.resource == anyKind {
		r.APIGroups, r.Resources = []string{"example.com"}, []string{"things"}
	}
	return right{namespace: "web", rule: r}
}

// TestTable_AStatusIsJudgedAsItsKind: a status of most kinds takes labels, annotations and owners with it, and
// controllers go by all of it.
func TestTable_AStatusIsJudgedAsItsKind(t *testing.T) {
	found := 0
	for _, e := range known() {
		if e.subresource != "status" && e.subresource != "scale" {
			continue
		}
		for _, verb := range []string{"update", "patch"} {
			whole := known().find(verb, newKind(e.group, e.resource))
			if !e.has(verb) || whole == nil {
				continue
			}
			if found++; e.effect != whole.effect {
				t.Errorf("%s %s is %s, and its kind %s", verb, e.kind, e.effect, whole.effect)
			}
		}
	}
	if found < 50 {
		t.Errorf("only %d were found: this test does not see what it should", found)
	}
}

// TestTable_NothingBetweenAWorkloadAndItsPodsIsDisruption looks for every write of it that is known.
func TestTable_NothingBetweenAWorkloadAndItsPodsIsDisruption(t *testing.T) {
	for _, name := range []string{"replicasets.apps", "replicasets.extensions", "replicationcontrollers",
		"controllerrevisions.apps"} {
		for _, verb := range strings.Fields(writes) {
			if r := known().find(verb, parseKind(name)); r == nil || r.effect != escalates {
				t.Errorf("%s %s: %+v", verb, name, r)
			}
		}
	}
}

// TestTable_ValetkeysOwnKindsAreInIt reads the kinds that are shipped.
func TestTable_ValetkeysOwnKindsAreInIt(t *testing.T) {
	files, err := filepath.Glob(repository + "/config/crd/valetkey.dev_*.yaml")
	if err != nil || len(files) != 5 {
		t.Fatalf("%d kinds: %v", len(files), err)
	}
	for _, file := range files {
		crd := apiextensionsv1.CustomResourceDefinition{}
		read(t, file, &crd)
		for _, name := range []string{crd.Spec.Names.Plural, crd.Spec.Names.Plural + "/status"} {
			for _, verb := range strings.Fields(every) {
				if known().find(verb, newKind(crd.Spec.Group, name)) == nil {
					t.Errorf("%s %s is not known", verb, name)
				}
			}
		}
	}
}

// TestTable_TheSampleIsHarmless reads what config/samples/kubernetes binds.
func TestTable_TheSampleIsHarmless(t *testing.T) {
	text, err := os.ReadFile(repository + "/config/samples/kubernetes/catalogue.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c, account, role, binding := &v1alpha1.Capability{}, &corev1.ServiceAccount{}, &rbacv1.Role{}, &rbacv1.RoleBinding{}
	for _, document := range strings.Split(string(text), "\n---\n") {
		for kind, object := range map[string]client.Object{"Capability": c, "ServiceAccount": account, "Role": role,
			"RoleBinding": binding} {
			if strings.Contains(document, "\nkind: "+kind+"\n") {
				if err := yaml.UnmarshalStrict([]byte(document), object); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	k := New(Options{Namespace: account.Namespace, OperatorNamespace: "valetkey-system", Roles: reader(role, binding)})
	scope, err := k.Render(t.Context(), c, values())
	if err != nil || !slices.Equal(scope.Lines, []string{"list configmaps in agents"}) ||
		len(c.Spec.Kubernetes.Accept) > 0 {
		t.Errorf("%v, accepting %v: %v", scope.Lines, c.Spec.Kubernetes.Accept, err)
	}
}

func read(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err == nil {
		err = yaml.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestTable_ThePageShowsIt compares the page's table with what the operator goes by.
func TestTable_ThePageShowsIt(t *testing.T) {
	const page, begin, end = repository +
		"/docs/backends/kubernetes.md", "<!-- what is known of rights -->\n", "<!-- end -->\n"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, found := strings.Cut(string(text), begin)
	shown, tail, ended := strings.Cut(rest, end)
	if !found || !ended {
		t.Fatal("the page has no place for the table")
	}
	if *update {
		if err := os.WriteFile(page, []byte(head+begin+markdown()+end+tail), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(markdown(), shown); diff != "" {
		t.Errorf("run this test with -args -update (-want +got):\n%s", diff)
	}
}

// markdown is the table as people read it: all kinds of a row, and what a capability has to accept.
func markdown() string {
	var b strings.Builder
	b.WriteString("\n| Kinds | Verbs | | Because |\n|---|---|---|---|\n")
	for _, r := range slices.Concat(rows(), openingRows()) {
		meaning := string(r.effect)
		if meaning != string(harmless) && meaning != string(shared) {
			meaning = "`" + meaning + "`"
		}
		kinds := strings.Join(strings.Fields(r.kinds), "`, `")
		if kinds == anyKind {
			kinds = "any"
		} else {
			kinds = "`" + kinds + "`"
		}
		verbs := strings.NewReplacer(every, "any", writes, "any that writes", "*", "…", " ", ", ").Replace(r.verbs)
		b.WriteString("| " + kinds + " | " + verbs + " | " + meaning + " | " + r.words + " |\n")
	}
	b.WriteString("\n")
	return b.String()
}
