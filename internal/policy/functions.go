// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"strings"

	"github.com/google/cel-go/cel"
	celast "github.com/google/cel-go/common/ast"
)

// function is what is known of what a call takes: its bound, or nil if it is not to be called, for which overloads, and why that is all.
type function struct {
	bound     bound
	overloads []string
	why       string
}

// functions are those that an expression may call, by their names. What is not among them, or with an overload that is not, is refused.
type functions map[string]function

// boundOf has every function of the environment of policies with its overloads, and why a call takes no more than its bound. Each can be
// called with values of any type, as elements of a list that has several, so a bound is by what the arguments are.
var boundOf = []struct {
	why       string
	bound     bound
	overloads map[string]string
}{
	{"operators choose one of their operands, or an element of one, and make nothing", boundOne, map[string]string{
		"!_":                  "logical_not",
		"@not_strictly_false": "not_strictly_false",
		"_&&_":                "logical_and",
		"_?._":                "select_optional_field",
		"_?_:_":               "conditional",
		"_[?_]": "list_optindex_optional_int map_optindex_optional_value optional_list_optindex_optional_int " +
			"optional_map_optindex_optional_value",
		"_[_]":                   "index_list index_map optional_list_index_int optional_map_index_value",
		"__not_strictly_false__": "__not_strictly_false__",
		"_||_":                   "logical_or",
		"dyn":                    "to_dyn",
		"type":                   "type",
	}},
	{"an element is found at once", boundAt, map[string]string{
		"@at":      "at_list at_map at_maybe_list at_maybe_map",
		"@maybeAt": "maybe_at_list maybe_at_map maybe_at_maybe_list maybe_at_maybe_map",
	}},
	{"numbers have one size, and are read from a text once", boundText, map[string]string{
		"-_":  "negate_double negate_int64",
		"_%_": "modulo_int64 modulo_uint64",
		"_*_": "multiply_double multiply_int64 multiply_uint64",
		"_-_": "subtract_double subtract_duration_duration subtract_int64 subtract_timestamp_duration " +
			"subtract_timestamp_timestamp subtract_uint64",
		"_/_":    "divide_double divide_int64 divide_uint64",
		"double": "double_to_double int64_to_double string_to_double uint64_to_double",
		"int":    "double_to_int64 duration_to_int64 int64_to_int64 string_to_int64 timestamp_to_int64 uint64_to_int64",
		"uint":   "double_to_uint64 int64_to_uint64 string_to_uint64 uint64_to_uint64",
	}},
	{"an optional points to its value", boundOne, map[string]string{
		"first":                   "list_first",
		"hasValue":                "optional_hasValue",
		"last":                    "list_last",
		"optional.none":           "optional_none",
		"optional.of":             "optional_of",
		"optional.ofNonZeroValue": "optional_ofNonZeroValue",
		"or":                      "optional_or_optional",
		"orValue":                 "optional_orValue_value",
		"value":                   "optional_value",
	}},
	{"durations and times have one size, and are read from a text once", boundText, map[string]string{
		"duration":  "duration_to_duration string_to_duration",
		"timestamp": "int64_to_timestamp string_to_timestamp timestamp_to_timestamp",
	}},
	{"dates are numbers; a time zone is read from a file", boundZone, map[string]string{
		"getDate":         "timestamp_to_day_of_month_1_based timestamp_to_day_of_month_1_based_with_tz",
		"getDayOfMonth":   "timestamp_to_day_of_month timestamp_to_day_of_month_with_tz",
		"getDayOfWeek":    "timestamp_to_day_of_week timestamp_to_day_of_week_with_tz",
		"getDayOfYear":    "timestamp_to_day_of_year timestamp_to_day_of_year_with_tz",
		"getFullYear":     "timestamp_to_year timestamp_to_year_with_tz",
		"getHours":        "duration_to_hours timestamp_to_hours timestamp_to_hours_with_tz",
		"getMilliseconds": "duration_to_milliseconds timestamp_to_milliseconds timestamp_to_milliseconds_with_tz",
		"getMinutes":      "duration_to_minutes timestamp_to_minutes timestamp_to_minutes_with_tz",
		"getMonth":        "timestamp_to_month timestamp_to_month_with_tz",
		"getSeconds":      "duration_to_seconds timestamp_to_seconds timestamp_to_seconds_tz",
	}},
	{"quantities, versions, addresses and formats have a bounded size", boundOne, map[string]string{
		"add":                           "quantity_add quantity_add_int",
		"asApproximateFloat":            "quantity_get_float",
		"asInteger":                     "quantity_get_int",
		"compareTo":                     "quantity_compare_to semver_compare_to",
		"family":                        "ip_family",
		"format.byte":                   "format.byte",
		"format.date":                   "format.date",
		"format.datetime":               "format.datetime",
		"format.dns1035Label":           "format.dns1035Label",
		"format.dns1035LabelPrefix":     "format.dns1035LabelPrefix",
		"format.dns1123Label":           "format.dns1123Label",
		"format.dns1123LabelPrefix":     "format.dns1123LabelPrefix",
		"format.dns1123Subdomain":       "format.dns1123Subdomain",
		"format.dns1123SubdomainPrefix": "format.dns1123SubdomainPrefix",
		"format.labelValue":             "format.labelValue",
		"format.named":                  "format-named",
		"format.qualifiedName":          "format.qualifiedName",
		"format.uri":                    "format.uri",
		"format.uuid":                   "format.uuid",
		"isGlobalUnicast":               "ip_is_global_unicast",
		"isGreaterThan":                 "quantity_is_greater_than semver_is_greater_than",
		"isInteger":                     "quantity_is_integer",
		"isLessThan":                    "quantity_is_less_than semver_is_less_than",
		"isLinkLocalMulticast":          "ip_is_link_local_multicast",
		"isLinkLocalUnicast":            "ip_is_link_local_unicast",
		"isLoopback":                    "ip_is_loopback",
		"isUnspecified":                 "ip_is_unspecified",
		"major":                         "semver_major",
		"masked":                        "cidr_masked",
		"minor":                         "semver_minor",
		"patch":                         "semver_patch",
		"prefixLength":                  "cidr_prefix_length",
		"sign":                          "quantity_sign",
		"sub":                           "quantity_sub quantity_sub_int",
	}},
	{"addresses have one size, and are read from a text once", boundText, map[string]string{
		"cidr":           "string_to_cidr",
		"containsCIDR":   "cidr_contains_cidr cidr_contains_cidr_string",
		"containsIP":     "cidr_contains_ip_ip cidr_contains_ip_string",
		"ip":             "cidr_ip string_to_ip",
		"ip.isCanonical": "ip_is_canonical",
		"isCIDR":         "is_cidr",
		"isIP":           "is_ip",
	}},
	{"quantities have a bounded size: see smallQuantity", boundText, map[string]string{
		"isQuantity": "is_quantity_string",
		"quantity":   "string_to_quantity",
	}},
	{"versions are no longer than mostVersion", boundVersion, map[string]string{
		"isSemver": "is_semver_string is_semver_string_bool",
		"semver":   "string_bool_to_semver string_to_semver",
	}},
	{"URLs are no longer than mostURL", boundURL, map[string]string{
		"isURL": "is_url_string",
		"url":   "string_to_url",
	}},
	{"a part of a URL is no longer than the URL", boundText, map[string]string{
		"getEscapedPath": "url_get_escaped_path",
		"getHost":        "url_get_host",
		"getHostname":    "url_get_hostname",
		"getPort":        "url_get_port",
		"getScheme":      "url_get_scheme",
	}},
	{"a query has an entry for each of its parameters", boundQuery, map[string]string{
		"getQuery": "url_get_query",
	}},
	{"the texts are read once, and the result is no longer", boundText, map[string]string{
		"bool":       "bool_to_bool string_to_bool",
		"bytes":      "bytes_to_bytes string_to_bytes",
		"charAt":     "string_char_at_int",
		"contains":   "contains_string",
		"endsWith":   "ends_with_string",
		"lowerAscii": "string_lower_ascii",
		"size":       "bytes_size list_size map_size size_bytes size_list size_map size_string string_size",
		"startsWith": "starts_with_string",
		"string": "bool_to_string bytes_to_string cidr_to_string double_to_string duration_to_string int64_to_string " +
			"ip_to_string string_to_string timestamp_to_string uint64_to_string",
		"substring":  "string_substring_int string_substring_int_int",
		"trim":       "string_trim",
		"upperAscii": "string_upper_ascii",
	}},
	{"a character becomes two at most", boundQuote, map[string]string{
		"strings.quote": "strings_quote",
	}},
	{"a text has no more pieces than characters; for the patterns see patterns.tooMuch", boundPattern, map[string]string{
		"find":    "string_find_string",
		"matches": "matches matches_string",
	}},
	{"a text has no more matches than characters, and is read to its end for each", boundAllMatches, map[string]string{
		"findAll": "string_find_all_string string_find_all_string_int",
	}},
	{"a format is a regular expression that has one size", boundFormat, map[string]string{
		"validate": "format-validate",
	}},
	{"there are as many pieces as separators, and one more", boundSplit, map[string]string{
		"split": "string_split_string string_split_string_int",
	}},
	{"each text that is found becomes the other", boundReplace, map[string]string{
		"replace": "string_replace_string_string string_replace_string_string_int",
	}},
	{"each value is written once, with as many decimals as are asked for", boundPrint, map[string]string{
		"format": "string_format",
	}},
	{"the result has all texts, and separators between them", boundJoin, map[string]string{
		"join": "list_join list_join_string",
	}},
	{"values are compared with all that is in them", boundCompare, map[string]string{
		"_!=_": "not_equals",
		"_<=_": "less_equals_bool less_equals_bytes less_equals_double less_equals_double_int64 " +
			"less_equals_double_uint64 less_equals_duration less_equals_int64 less_equals_int64_double " +
			"less_equals_int64_uint64 less_equals_string less_equals_timestamp less_equals_uint64 " +
			"less_equals_uint64_double less_equals_uint64_int64",
		"_<_": "less_bool less_bytes less_double less_double_int64 less_double_uint64 less_duration less_int64 " +
			"less_int64_double less_int64_uint64 less_string less_timestamp less_uint64 less_uint64_double " +
			"less_uint64_int64",
		"_==_": "equals",
		"_>=_": "greater_equals_bool greater_equals_bytes greater_equals_double greater_equals_double_int64 " +
			"greater_equals_double_uint64 greater_equals_duration greater_equals_int64 " +
			"greater_equals_int64_double greater_equals_int64_uint64 greater_equals_string " +
			"greater_equals_timestamp greater_equals_uint64 greater_equals_uint64_double " +
			"greater_equals_uint64_int64",
		"_>_": "greater_bool greater_bytes greater_double greater_double_int64 greater_double_uint64 " +
			"greater_duration greater_int64 greater_int64_double greater_int64_uint64 greater_string " +
			"greater_timestamp greater_uint64 greater_uint64_double greater_uint64_int64",
	}},
	{"the result is as large as both operands", boundAdd, map[string]string{
		"_+_": "add_bytes add_double add_duration_duration add_duration_timestamp add_int64 add_list add_string " +
			"add_timestamp_duration add_uint64",
	}},
	{"the result is as large as all arguments", boundInsert, map[string]string{
		"cel.@mapInsert": "@mapInsert_map_key_value @mapInsert_map_map",
	}},
	{"the result has as many elements as the argument says", boundRange, map[string]string{
		"lists.range": "lists_range",
	}},
	{"the result has no more elements than the argument", boundCopy, map[string]string{
		"optional.unwrap": "optional_unwrap",
		"reverse":         "list_reverse",
		"slice":           "list_slice",
		"unwrapOpt":       "optional_unwrapOpt",
	}},
	{"the result has the elements of all lists in the list", boundFlatten, map[string]string{
		"flatten": "list_flatten list_flatten_int",
	}},
	{"each element is looked at once", boundAll, map[string]string{
		"isSorted": "list_bool_is_sorted_bool list_bytes_is_sorted_bool list_double_is_sorted_bool " +
			"list_duration_is_sorted_bool list_int_is_sorted_bool list_string_is_sorted_bool " +
			"list_timestamp_is_sorted_bool list_uint_is_sorted_bool",
		"max": "list_bool_max_bool list_bytes_max_bytes list_double_max_double list_duration_max_duration " +
			"list_int_max_int list_string_max_string list_timestamp_max_timestamp list_uint_max_uint",
		"min": "list_bool_min_bool list_bytes_min_bytes list_double_min_double list_duration_min_duration " +
			"list_int_min_int list_string_min_string list_timestamp_min_timestamp list_uint_min_uint",
		"sum": "list_double_sum_double list_duration_sum_duration list_int_sum_int list_uint_sum_uint",
	}},
	{"each element is compared with some others", boundSort, map[string]string{
		"@sortByAssociatedKeys": "list_bool_sortByAssociatedKeys list_bytes_sortByAssociatedKeys list_double_sortByAssociatedKeys " +
			"list_google.protobuf.Duration_sortByAssociatedKeys " +
			"list_google.protobuf.Timestamp_sortByAssociatedKeys list_int_sortByAssociatedKeys " +
			"list_string_sortByAssociatedKeys list_uint_sortByAssociatedKeys",
		"sort": "list_bool_sort list_bytes_sort list_double_sort list_google.protobuf.Duration_sort " +
			"list_google.protobuf.Timestamp_sort list_int_sort list_string_sort list_uint_sort",
	}},
	{"each element is compared with all others", boundDistinct, map[string]string{
		"distinct": "list_distinct",
	}},
	{"the value is compared with each element", boundIn, map[string]string{
		"@in":  "in_list in_map",
		"_in_": "in_list in_map",
		"in":   "in_list in_map",
	}},
	{"the value is compared with each element, or with the text at each place", boundSearch, map[string]string{
		"indexOf":     "list_a_index_of_int string_index_of_string string_index_of_string_int",
		"lastIndexOf": "list_a_last_index_of_int string_last_index_of_string string_last_index_of_string_int",
	}},
	{"each element of one is compared with each of the other", boundSets, map[string]string{
		"sets.contains":   "list_sets_contains_list",
		"sets.equivalent": "list_sets_equivalent_list",
		"sets.intersects": "list_sets_intersects_list",
	}},
	{"no policy has an authorizer", nil, map[string]string{
		"allowed":        "decision_allowed",
		"check":          "pathcheck_check resourcecheck_check",
		"error":          "decision_error",
		"errored":        "decision_errored",
		"fieldSelector":  "authorizer_fieldselector",
		"group":          "authorizer_group",
		"labelSelector":  "authorizer_labelselector",
		"name":           "resourcecheck_name",
		"namespace":      "resourcecheck_namespace",
		"path":           "authorizer_path",
		"reason":         "decision_reason",
		"resource":       "groupcheck_resource",
		"serviceAccount": "authorizer_serviceaccount",
		"subresource":    "resourcecheck_subresource",
	}},
}

func allFunctions() functions {
	all := functions{}
	for _, row := range boundOf {
		for name, overloads := range row.overloads {
			all[name] = function{bound: row.bound, overloads: strings.Fields(overloads), why: row.why}
		}
	}
	return all
}

// check fails for an expression that calls what is not known.
func (f functions) check(ast *cel.Ast) (problem error) {
	references := ast.NativeRep().ReferenceMap()
	celast.PreOrderVisit(ast.NativeRep().Expr(), celast.NewExprVisitor(func(e celast.Expr) {
		if e.Kind() != celast.CallKind || problem != nil {
			return
		}
		name := e.AsCall().FunctionName()
		called := f[name]
		reference := references[e.ID()]
		known := called.bound != nil && reference != nil && !slices.ContainsFunc(reference.OverloadIDs, func(overload string) bool {
			return !slices.Contains(called.overloads, overload)
		})
		if !known {
			problem = unknownFunction(name)
		}
	}))
	return problem
}
