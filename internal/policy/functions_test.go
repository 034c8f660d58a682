// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types/ref"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// TestFunctions_EachOfTheEnvironmentHasABound: a function or an overload that a new version of CEL or of Kubernetes brings fails here
// until it is known what a call of it takes.
func TestFunctions_EachOfTheEnvironmentHasABound(t *testing.T) {
	known := allFunctions()
	for name, declared := range newCompiler(t).anyCase.Functions() {
		row, ok := known[name]
		if !ok || row.why == "" {
			t.Errorf("function %s has no row", name)
		}
		for _, overload := range declared.OverloadDecls() {
			if !slices.Contains(row.overloads, overload.ID()) {
				t.Errorf("function %s: overload %s has no row", name, overload.ID())
			}
		}
	}
}

func TestFunctions_WhatIsNotKnownIsNotCalled(t *testing.T) {
	c := newCompiler(t)
	var err error
	if c.env, err = c.env.Extend(cel.Function("repeat", cel.Overload("repeat_string", []*cel.Type{cel.StringType}, cel.BoolType,
		cel.UnaryBinding(func(text ref.Val) ref.Val { return text })))); err != nil {
		t.Fatal(err)
	}
	err = c.Compile(policyWith("request.ttlSeconds > 0 && [request.repo].exists(r, repeat(r))")).Err()
	if err == nil || !strings.Contains(err.Error(), "may not call repeat") {
		t.Errorf("got %v", err)
	}
	c = newCompiler(t)
	delete(c.measuring.functions, "size")
	if err := c.Compile(policyWith("request.repo.size() > 0")).Err(); err == nil || !strings.Contains(err.Error(), "may not call size") {
		t.Errorf("got %v", err)
	}
}

// shared binds v1 to v3, of which each is a list that holds the one before eighty times.
func shared(body string) string {
	for i := 3; i > 0; i-- {
		element := "1"
		if i > 1 {
			element = fmt.Sprintf("v%d", i-1)
		}
		body = fmt.Sprintf("[[%s]].exists(v%d, %s)", strings.Join(slices.Repeat([]string{element}, 80), ","), i, body)
	}
	return body
}

// TestFunctions_AreBoundedBeforeTheyAreCalled: each takes gigabytes or minutes if it is called.
func TestFunctions_AreBoundedBeforeTheyAreCalled(t *testing.T) {
	const tooMuch, tooMany, tooLong = "take more than 4194304 bytes together", "look at more than 1000000 values", "becomes longer than"
	const steps = "a regular expression has more than 2000 steps"
	text := "'" + strings.Repeat("a", 1000) + "'.replace('a','" + strings.Repeat("b", 1000) + "')"
	often := func(body string) string { return "[" + text + "].exists(s, lists.range(4900).all(i, " + body + "))" }
	for name, row := range map[string]struct{ expression, says string }{
		"a long pattern":              {"'a'.matches('a" + strings.Repeat("a", 300) + "'.replace('a','(((((((((('))", steps},
		"lists in one list":           {"[lists.range(200000)].exists(a, [" + strings.Repeat("a,", 99) + "a].flatten().size() > 0)", tooMuch},
		"distinct":                    {"[lists.range(50000)].flatten().distinct().size() > 0", tooMany},
		"sort":                        {"[lists.range(50000)].flatten().sort().size() > 0", tooMany},
		"sets":                        {"[lists.range(100000)].exists(a, sets.contains([a].flatten(), [a].flatten()))", tooMuch},
		"sets of lists":               {"[lists.range(2000)].exists(a, sets.intersects([a].flatten(), [a].flatten()))", tooMany},
		"a list that doubles":         {"[lists.range(50000)].exists(a, (a+a+a+a+a+a+a+a).size() > 0)", tooMuch},
		"lists that are written":      {"[lists.range(90000)].exists(d, '" + strings.Repeat("%s", 30) + "'.format([" + strings.Repeat("d,", 29) + "d]).size() > 0)", tooMuch},
		"decimals":                    {"'%.1000000000f'.format([1.0]) != ''", tooLong},
		"an exponent":                 {"'%.1000000000e'.format([1.0]) != ''", tooLong},
		"a text many times in a list": {"[" + text + "].exists(s, lists.range(4900).map(i, s).size() > 0)", tooMuch},
		"a text that is read again":   {often("s.size() > 0"), tooMany},
		"a text that is cut again":    {often("s.charAt(i) != ''"), tooMany},
		"a text that is no number":    {often("int(s) == 1 || true"), tooMany},
		"a list that is compared":     {"[[lists.range(20000)].flatten()].exists(a, lists.range(4000).all(i, a == a))", tooMany},
		"all matches":                 {"'" + strings.Repeat("a", 200) + "'.replace('a','" + strings.Repeat("a", 200) + "').findAll('a(.*b)?').size() > 0", tooMany},
		"time zones":                  {"lists.range(4900).all(i, timestamp(i).getHours('Nowhere/Else') == 1 || true)", tooMany},
		"what is shared, compared":    {shared("v3 == v3"), tooMuch},
		"what is shared, in a map":    {shared("{'a': v3} == {'a': v3}"), tooMuch},
		"what is shared, looked for":  {shared("v3 in [v3]"), tooMuch},
		"what is shared, written":     {shared("'%s'.format([v3]) != ''"), tooMuch},
		"what is shared, flattened":   {shared("v3.flatten(30).size() > 0"), tooMuch},
	} {
		for _, effect := range []v1alpha1.PolicyEffect{v1alpha1.EffectAllow, v1alpha1.EffectDeny} {
			w, expression := newWorld(), row.expression
			if effect == v1alpha1.EffectDeny {
				expression = "request.repo == '' || " + expression // is evaluated in any case
			}
			w.preview().When = when(expression, "as asked")
			p := deny("p")
			if p.Spec.When = w.preview().When; effect == v1alpha1.EffectDeny {
				w.preview().When = nil
				w.add(p)
			}
			if err := newCompiler(t).Compile(p).Err(); err != nil {
				t.Errorf("%s, %s: %v", name, effect, err)
				continue
			}
			if d := w.decide(t); d.Verdict != Deny || !strings.Contains(d.Message, row.says) {
				t.Errorf("%s, %s: %s, %s", name, effect, d.Verdict, d.Message)
			}
		}
	}
}

// TestFunctions_OrdinaryCallsStay: nobody meant is stopped, in a policy of either effect.
func TestFunctions_OrdinaryCallsStay(t *testing.T) {
	for _, expression := range []string{
		"duration('1h') < duration('90m') && timestamp('2026-01-01T00:00:00Z').getFullYear('Europe/Berlin') == 2026 && int('3') == 3",
		"['b', 'a', 'b'].distinct().size() == 2 && request.requester.groups.map(g, g.lowerAscii())[1] == 'team-901'",
		"sets.contains(request.requester.groups, ['team-1', 'team-2']) && !sets.intersects(['x'], request.requester.groups)",
		"[request.requester.groups, ['x']].flatten().size() == request.requester.groups.size() + 1 && (request.requester.groups + ['x']).exists(g, g == 'x')",
		"request.requester.groups.filter(g, g.endsWith('01')).size() > 0 && request.requester.groups.transformMap(i, g, g)[1] == 'team-901'",
		"request.requester.groups == request.requester.groups && request.requester.groups.indexOf('team-901') == 1",
		"'%s has %d of %.2f'.format([request.repo, 3, 1.5]).size() > 0 && strings.quote(request.repo).size() > 2",
		"url('https://example.com/a?b=c&d=e').getQuery()['d'] == ['e'] && isSemver('1.2.3') && semver('1.2.3').isLessThan(semver('1.3.0'))",
		"cidr('10.0.0.0/8').containsIP(ip('10.1.2.3')) && !format.dns1123Label().validate('web-app').hasValue()",
		"'a-b-c'.split('-')[1] == 'b' && optional.of([1, 2]).value()[0] == 1",
	} {
		w := newWorld()
		for i := range 300 {
			w.Request.Spec.Requester.Groups = append(w.Request.Spec.Requester.Groups, fmt.Sprintf("team-%d", 1000+i))
		}
		w.Request.Spec.Requester.Groups[1], w.Request.Spec.Requester.Groups[2], w.Request.Spec.Requester.Groups[3] = "team-901", "team-1", "team-2"
		w.preview().When = when(expression, "as asked")
		if d := w.decide(t); d.Verdict != Allow {
			t.Errorf("%s: %s, %s", expression, d.Verdict, d.Message)
		}
		w.preview().When = nil
		p := deny("p")
		p.Spec.When = when(expression, "as asked")
		w.add(p)
		if d := w.decide(t); d.Verdict != Deny || !strings.HasSuffix(d.Message, "as asked") {
			t.Errorf("a Deny, %s: %s, %s", expression, d.Verdict, d.Message)
		}
	}
}

func TestExpressions_ThatCELCannotLookAtDoNotCompile(t *testing.T) {
	err := newCompiler(t).Compile(policyWith("[?dyn(request.repo)].size() > 0")).Err()
	if err == nil || !strings.Contains(err.Error(), "does not compile") {
		t.Errorf("got %v", err)
	}
}
