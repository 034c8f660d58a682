// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
)

// mostFindings is how many findings a message has. The rest is counted: a condition has room for about so many.
const mostFindings = 3

// longestFinding is how many characters of a right a message repeats: its rule can have any number of names.
const longestFinding = 120

// finding is what a right needs accepted, and why.
type finding struct {
	needs v1alpha1.KubernetesAcceptance
	// what the right is, in the form of a line of the scope: create pods in web.
	what string
	// why it needs that.
	why string
}

// gravest is the order in which people are told.
var gravest = [...]v1alpha1.KubernetesAcceptance{v1alpha1.AcceptEscalation, v1alpha1.AcceptUnknown,
	v1alpha1.AcceptWildcards, v1alpha1.AcceptDisruption, v1alpha1.AcceptClusterWide, v1alpha1.AcceptOpenConnections}

// check refuses rights that are not known to be harmless, unless the capability explicitly accepts what they are.
func (k *Provider) check(c *v1alpha1.Capability, all rights) error {
	user := k.user(c)
	if len(all) == 0 {
		return invalid("no role is bound to %s: nothing is issued unscoped; bind one where it is to work", user)
	}
	var open []finding
	for _, r := range all {
		open = append(open, slices.DeleteFunc(k.judge(r), func(f finding) bool {
			return slices.Contains(c.Spec.Kubernetes.Accept, f.needs)
		})...)
	}
	if len(open) > 0 {
		return refusal(user, open)
	}
	return all.fit(user)
}

// mostLooks is how many verbs on kinds are judged for one identity. Whoever may write roles somewhere may bind any number of them to it,
// and each grant of the capability waits for the judgement.
const mostLooks = 20_000

// mostText is how many bytes of words the lines of one identity's rights are made of: each kind has a line, and all verbs and names of its
// rule stand in it.
const mostText = 1 << 20

// collected are rights as far as they are looked through. From the first that is too much on, they are taken for all that there are.
type collected struct {
	rights rights
	looks  int
	text   int
}

// full reports whether there is more than is looked through.
func (all *collected) full() bool { return all.looks > mostLooks || all.text > mostText }

func (all *collected) add(r right) {
	if all.full() {
		return
	}
	kinds := len(r.rule.NonResourceURLs) + len(r.rule.APIGroups)*len(r.rule.Resources)
	all.looks += max(1, kinds) * max(1, len(r.rule.Verbs))
	all.text += r.text(kinds)
	if all.full() {
		r.namespace, r.rule = "", rbacv1.PolicyRule{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}}
	}
	all.rights = append(all.rights, r)
}

// text is how long the lines of a rule about so many kinds are.
func (r right) text(kinds int) int {
	length := func(words []string) (sum int) {
		for _, word := range words {
			sum += len(word) + 1
		}
		return sum
	}
	groups, resources := length(r.rule.APIGroups), length(r.rule.Resources)
	return kinds*(length(r.rule.Verbs)+length(r.rule.ResourceNames)+len(r.namespace)) + length(r.rule.NonResourceURLs) +
		groups*len(r.rule.Resources) + resources*len(r.rule.APIGroups)
}

// refusal says the gravest findings in words, and all that would have to be accepted. Bindings are listed in any order,
// so the findings are sorted: a condition is written only when what it says changes.
func refusal(user string, open []finding) error {
	rank := func(f finding) int { return slices.Index(gravest[:], f.needs) }
	slices.SortFunc(open, func(a, b finding) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(a.what, b.what), strings.Compare(a.why, b.why))
	})
	open = slices.Compact(open)
	var words, needs []string
	for i, f := range open {
		if i < mostFindings {
			words = append(words, f.what+": "+f.why)
		}
		needs = append(needs, string(f.needs))
	}
	if more := len(open) - mostFindings; more > 0 {
		words = append(words, fmt.Sprintf("and %d more", more))
	}
	return invalid("%s may do more than is known to be harmless: %s; narrow it, or accept %s",
		user, strings.Join(words, "; "), strings.Join(slices.Compact(needs), ", "))
}

// judge says what of a right is not known to be harmless. The names in a rule change nothing: a Deployment that is
// named runs as any ServiceAccount, too, and what is created has no name when RBAC is asked.
func (k *Provider) judge(r right) []finding {
	var all []finding
	for _, kind := range r.kinds() {
		var verbs []finding
		for _, verb := range r.rule.Verbs {
			for _, f := range slices.Concat(k.known.judge(verb, kind), k.opens(verb, kind)) {
				f.what = shownWord(verb)
				verbs = gather(verbs, f)
			}
		}
		for _, f := range verbs {
			f.what = r.cited(r.line(f.what, kind))
			all = append(all, f)
		}
	}
	if why := k.breadth(r); why != "" {
		all = append(all, finding{v1alpha1.AcceptClusterWide, r.cited(r.lines()[0]), why})
	}
	return all
}

// cited is a line of a right, as far as there is room for it, with the binding that gives it.
func (r right) cited(line string) string {
	return fmt.Sprintf("%s (%s)", begun(line, longestFinding), r.binding)
}

// begun is the beginning of a line of a right. A word that is quoted, and is not whole any more, is quoted all the same.
func begun(line string, most int) string {
	runes := []rune(line)
	if len(runes) <= most {
		return line
	}
	open := false
	for i := 0; i < most; i++ {
		switch runes[i] {
		case '\\':
			i++
		case '"':
			open = !open
		}
	}
	line = string(runes[:most])
	if open {
		line = strings.TrimRight(line, `\`) + `"`
	}
	return line + "…"
}

// gather puts verbs that lead to the same into one finding.
func gather(all []finding, f finding) []finding {
	for i := range all {
		if all[i].needs == f.needs && all[i].why == f.why {
			all[i].what += "," + f.what
			return all
		}
	}
	return append(all, f)
}

// judge says of one verb on one kind what is not known to be harmless; what of the finding is the verb.
func (t table) judge(verb string, k kind) []finding {
	if verb == "*" || t.wild(k) {
		return append([]finding{{v1alpha1.AcceptWildcards, verb, "* takes in what does not exist yet"}},
			t.takenIn(verb, k)...)
	}
	r := t.find(verb, k)
	switch {
	case r == nil && len(t.of(k)) == 0:
		return []finding{{v1alpha1.AcceptUnknown, verb, unknownKind(k)}}
	case r == nil:
		return []finding{{v1alpha1.AcceptUnknown, verb, unknownVerb(verb)}}
	case r.isHarmless():
		return nil
	}
	return []finding{{v1alpha1.KubernetesAcceptance(r.effect), verb, r.words}}
}

// takenIn says what a wildcard takes in that is known and not harmless: the first of each sort.
func (t table) takenIn(verb string, k kind) []finding {
	if r := t.find(verb, kind{}); r != nil {
		return []finding{{v1alpha1.KubernetesAcceptance(r.effect), verb, r.words}}
	}
	kinds := t.of(k)
	if len(kinds) == 0 {
		return []finding{{v1alpha1.AcceptUnknown, verb, unknownKind(k)}}
	}
	kinds = slices.DeleteFunc(kinds, func(e entry) bool { return verb != "*" && !e.has(verb) })
	if len(kinds) == 0 {
		return []finding{{v1alpha1.AcceptUnknown, verb, unknownVerb(verb)}}
	}
	var all []finding
	for _, e := range kinds {
		needs := v1alpha1.KubernetesAcceptance(e.effect)
		if e.isHarmless() || slices.ContainsFunc(all, func(f finding) bool { return f.needs == needs }) {
			continue
		}
		all = append(all, finding{needs, verb, fmt.Sprintf("it takes in %s %s, and %s", e.example(verb), e.kind, e.words)})
	}
	return all
}

// opens says what one verb on one kind opens that goes on after the grant's end, if it opens anything.
func (k *Provider) opens(verb string, of kind) []finding {
	if k.known.gives(verb, of) {
		return nil
	}
	for _, e := range k.opening {
		if !e.takesIn(verb, of) {
			continue
		}
		why := e.words
		if verb == "*" || k.known.wild(of) {
			why = fmt.Sprintf("it takes in %s %s, and %s", e.example(verb), cmp.Or(e.named(), shownWord(of.String())), why)
		}
		return []finding{{v1alpha1.AcceptOpenConnections, verb, why}}
	}
	return nil
}

// takesIn reports whether a verb of a rule on a kind of a rule is about what the entry says.
func (e entry) takesIn(verb string, of kind) bool {
	if verb != "*" && !e.has(verb) {
		return false
	}
	if e.resource == anyKind {
		return of.url == ""
	}
	return of.matches(e.kind)
}

// example is one verb that a verb of a rule takes in.
func (r *row) example(verb string) string {
	if verb == "*" {
		return strings.Fields(r.verbs)[0]
	}
	return verb
}

// named is the entry's kind; empty if it is about any.
func (e entry) named() string {
	if e.resource == anyKind {
		return ""
	}
	return e.String()
}

func (r *row) isHarmless() bool { return r.effect == harmless || r.effect == shared }

func unknownVerb(verb string) string {
	return fmt.Sprintf("%+.100q is no verb that Valetkey knows for it, so nobody has said what it leads to", verb)
}

func unknownKind(k kind) string {
	return fmt.Sprintf("%+.100q is not known to Valetkey, so nobody has said what it leads to", k.String())
}

// breadth says why a right reaches further than an ordinary namespace; empty if it does not.
func (k *Provider) breadth(r right) string {
	switch {
	case r.namespace == "":
		return "it holds in the whole cluster, in the namespaces of Kubernetes itself and of Valetkey, too"
	case strings.HasPrefix(r.namespace, "kube-"):
		return "Kubernetes itself works in " + r.namespace
	case r.namespace == k.options.OperatorNamespace || r.namespace == k.options.Namespace:
		return "Valetkey itself works in " + r.namespace
	}
	return ""
}

// shared reports whether every ServiceAccount of every cluster has the right, so that it is not part of a scope.
func (t table) shared(r right) bool {
	for _, k := range r.kinds() {
		for _, verb := range r.rule.Verbs {
			if !t.gives(verb, k) {
				return false
			}
		}
	}
	return true
}

// gives reports whether every cluster gives one verb on one kind to every ServiceAccount.
func (t table) gives(verb string, k kind) bool {
	r := t.find(verb, k)
	return !t.wild(k) && r != nil && r.effect == shared
}

// fit refuses what cannot be shown to people as it is.
func (all rights) fit(user string) error {
	for _, r := range all {
		for _, part := range slices.Concat(r.rule.Verbs, r.rule.APIGroups, r.rule.Resources, r.rule.ResourceNames,
			r.rule.NonResourceURLs) {
			if !fits(part) {
				return invalid("a rule of a role that is bound to %s (%s) has %+.100q, which no object of the API is named: "+
					"people cannot be shown what it means; write it without spaces and other signs", user, r.binding, part)
			}
		}
	}
	lines := all.lines()
	if len(lines) > provider.MostActions {
		return invalid("the roles that are bound to %s have %d rules, more than %d that a grant shows; "+
			"bind fewer or narrower ones", user, len(lines), provider.MostActions)
	}
	for _, line := range lines {
		if len(line) > provider.LongestAction {
			return invalid("a rule of a role that is bound to %s is longer than %d characters: %s; split it",
				user, provider.LongestAction, begun(line, 64))
		}
	}
	return nil
}
