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

// TestExpressions_AllThatTheyTakeIsBounded: each of many calls by itself is small, and costs little by CEL's own count.
func TestExpressions_AllThatTheyTakeIsBounded(t *testing.T) {
	letters := "'" + strings.Repeat("a", 32) + "'.split('')"
	often := func(what string) string { return letters + ".map(x, " + letters + ".map(y, " + what + ")).size() > 0" }
	text, grows := "'"+strings.Repeat("a", 850)+"'", ".replace('a', '"+strings.Repeat("b", 1000)+"')"
	const pattern = "(.{30}){30}$"
	const tooMuch, tooMany, tooCostly = "take more than 4194304 bytes together", "looks at more than 5000 elements", "cost limit exceeded"
	for name, row := range map[string]struct{ expression, says string }{
		"texts":                           {often(text + grows), tooMuch},
		"texts that are not kept":         {letters + ".all(x, " + letters + ".all(y, " + text + grows + " != ''))", tooMuch},
		"texts that are cut":              {often(text + ".split('')"), tooMuch},
		"formatted texts":                 {"lists.range(700).map(i, [" + text + "].map(v, '%s%s%s%s%s%s%s%s'.format([v,v,v,v,v,v,v,v]))).size() > 0", tooMuch},
		"a pattern in a text that grew":   {"'" + strings.Repeat("a", 420) + "'.replace('a', '" + strings.Repeat("b", 420) + "').matches('" + pattern + "')", "too large for the text in which it is looked for"},
		"a pattern that is made":          {"['" + pattern + "'].all(p, lists.range(4000).all(i, 'a'.matches(p) || true))", tooCostly},
		"a pattern in many texts":         {"lists.range(800).all(i, " + text + ".matches('" + pattern + "') || true)", tooCostly},
		"a pattern that is looked for":    {"lists.range(800).all(i, " + text + ".find('" + pattern + "') == '')", tooCostly},
		"all elements":                    {"lists.range(16000).all(i, i >= 0)", tooMany},
		"all elements, without a call":    {"lists.range(25000).all(i, true)", tooMany},
		"all elements, and their places":  {"lists.range(16000).all(i, v, v >= 0)", tooMany},
		"elements of a map":               {"lists.range(12000).transformMap(i, v, v).size() > 0", tooMany},
		"elements of lists, again, again": {"lists.range(90).all(i, lists.range(90).all(j, true))", tooMany},
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
