// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"
	"testing"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// TestExpressions_NoShortTextTakesAllMemory: neither one that stands in an expression, nor one that an expression makes,
// nor one that whoever asks has written.
func TestExpressions_NoShortTextTakesAllMemory(t *testing.T) {
	repeated := "^" + strings.Repeat("a{0,999}", 200) + "z$"
	for name, tt := range map[string]struct {
		expression string
		// compiles is set where the text is not known before the expression is evaluated; task is what is asked for.
		compiles bool
		task     string
	}{
		"a pattern":                         {expression: "request.repo.matches('" + repeated + "')"},
		"a pattern of a function":           {expression: "matches(request.repo, '" + repeated + "')"},
		"a pattern that is looked for":      {expression: "request.repo.find('" + repeated + "') != ''"},
		"a pattern that is looked for thus": {expression: "request.repo.findAll('" + repeated + "', 2).size() > 0"},
		"repetitions within each other":     {expression: "request.repo.matches('((ab{0,30}){0,30}){0,1}(cd{0,30}){0,30}' + '')", compiles: true},
		"a pattern that is made":            {expression: "request.repo.matches('^' + '" + repeated[1:] + "')", compiles: true},
		"a pattern that is asked for":       {expression: "request.repo.matches(request.taskID)", compiles: true, task: repeated},
		"a quantity":                        {expression: "quantity('1e9999999').isGreaterThan(quantity('1'))"},
		"a small one":                       {expression: "isQuantity('1e-999999999')"},
		"a quantity that is asked for":      {expression: "isQuantity(request.taskID)", compiles: true, task: "1e-999999999"},
		"a text that grows":                 {expression: "request.taskID.replace('', request.taskID).replace('', request.taskID).size() > 10", compiles: true, task: strings.Repeat("a", 1000)},
		"a long one that is asked for":      {expression: "isQuantity(request.taskID)", compiles: true, task: strings.Repeat("1", 41)},
	} {
		for _, effect := range []v1alpha1.PolicyEffect{v1alpha1.EffectAllow, v1alpha1.EffectDeny} {
			t.Run(name+", "+string(effect), func(t *testing.T) {
				w := newWorld()
				w.Request.Spec.TaskID = tt.task
				w.preview().When = when(tt.expression, "as asked")
				p := deny("p")
				if p.Spec.When = w.preview().When; effect == v1alpha1.EffectDeny {
					w.preview().When = nil
					w.add(p)
				}
				err := newCompiler(t).Compile(p).Err()
				if (err == nil) != tt.compiles {
					t.Fatalf("compiling: %v", err)
				}
				if err != nil && !strings.Contains(err.Error(), "when its repetitions are written out") && !strings.Contains(err.Error(), "a quantity is longer") {
					t.Errorf("it says %v", err)
				}
				if d := w.decide(t); d.Verdict != Deny || tt.compiles && !strings.Contains(d.Message, "when its repetitions are written out") && !strings.Contains(d.Message, "a quantity is longer") && !strings.Contains(d.Message, "becomes longer than") {
					t.Errorf("%s: %s", d.Verdict, d.Message)
				}
			})
		}
	}
}

// TestExpressions_OrdinaryTextsStay: what is small is evaluated as ever.
func TestExpressions_OrdinaryTextsStay(t *testing.T) {
	for _, expression := range []string{
		"request.repo.matches('^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$')",
		"request.repo.matches('^' + request.repo + '$')",
		"matches(request.repo, request.repo)",
		"'aXbX'.replace('X', '', 1) == 'abX' && request.repo.replace('-', '').size() > 0",
		"request.repo.findAll('[a-z]', 2).size() == 2",
		"quantity('1500Mi').isLessThan(quantity('2Gi')) && isQuantity('1e3') && isQuantity('-0.5') && !isQuantity('')",
		"quantity(request.ttlSeconds > 0 ? '1' : '2').isLessThan(quantity('2'))",
	} {
		w := newWorld()
		w.preview().When = when(expression, "as asked")
		if d := w.decide(t); d.Verdict != Allow && d.Verdict != Pending {
			t.Errorf("%s: %s, %s", expression, d.Verdict, d.Message)
		}
	}
}

// TestExpressions_AllThatIsMadeIsBounded: each of many by itself is small, and costs little.
func TestExpressions_AllThatIsMadeIsBounded(t *testing.T) {
	letters := "'" + strings.Repeat("a", 32) + "'.split('')"
	often := func(what string) string { return letters + ".map(x, " + letters + ".map(y, " + what + ")).size() > 0" }
	long := "'" + strings.Repeat("a", 850) + "'"
	for name, expression := range map[string]string{
		"texts":              often(long + ".replace('a', '" + strings.Repeat("b", 1000) + "')"),
		"texts that go":      letters + ".all(x, " + letters + ".all(y, " + long + ".replace('a', '" + strings.Repeat("b", 1000) + "') != ''))",
		"texts that are cut": often(long + ".split('')"),
	} {
		for _, effect := range []v1alpha1.PolicyEffect{v1alpha1.EffectAllow, v1alpha1.EffectDeny} {
			w := newWorld()
			expression := expression
			if effect == v1alpha1.EffectDeny {
				expression = "request.repo == '' || " + expression
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
			d := w.decide(t)
			if d.Verdict != Deny || !strings.Contains(d.Message, "take more than 4194304 bytes together") {
				t.Errorf("%s, %s: %s, %s", name, effect, d.Verdict, d.Message)
			}
		}
	}
}
