"""The fault matrix: which test holds which row.

Rows that need another machine, or that somebody else must run, say so.

N1   429 with a time to wait             faults/test_wire.py::test_a_run_ends_as_promised_whatever_the_wire_does
                                         test_backend.py::test_a_burst_of_429s_halves_the_lane_once_and_successes_open_it_again
N2   429 without one: jittered back-off  test_backend.py::test_waits_are_drawn_from_a_doubling_range_and_capped
                                         test_backend.py::test_those_who_are_told_the_same_time_do_not_come_at_the_same_time
N3   Retry-After in all its forms        test_backend.py::test_retry_after_is_read_in_all_its_forms
                                         faults/test_wire.py::test_a_run_ends_as_promised_whatever_the_wire_does
N4   quota, 402                          faults/test_wire.py::test_a_run_ends_as_promised_whatever_the_wire_does
N5   bursts of 5xx                       test_clients.py::test_faults_of_every_kind_are_survived_three_in_a_row
                                         faults/test_storms.py::test_A_storm_of_recoverable_faults_changes_no_row_and_pays_for_none_twice
N6   500 on one row for ever             faults/test_wire.py::test_a_run_ends_as_promised_whatever_the_wire_does
                                         test_backend.py::test_a_row_that_always_fails_does_not_stop_the_others
N7   400, 404, 413, 422                  faults/test_wire.py::test_a_run_ends_as_promised_whatever_the_wire_does
                                         test_backend.py::test_a_model_that_nobody_knows_stops_the_run_but_not_once_it_has_answered
N8   connections that break              faults/test_wire.py::test_a_run_ends_as_promised_whatever_the_wire_does
                                         test_clients.py::test_a_broken_connection_is_one_request_that_may_be_billed
                                         test_clients.py::test_a_connection_that_does_not_end_is_one_request_that_may_be_billed
N9   drip, blanks for ever               faults/test_wire.py::test_a_run_ends_as_promised_whatever_the_wire_does
N10  silence on one row, on all          faults/test_wire.py::test_a_run_ends_as_promised_whatever_the_wire_does
                                         test_backend.py::test_an_endpoint_that_only_hangs_is_given_up_in_a_few_minutes
N11  refused, unknown host, TLS          faults/test_wire.py::test_N11_a_refused_connection_ends_the_run_at_once_with_host_and_cause
                                         faults/test_wire.py::test_N11_an_unknown_host_and_a_port_without_tls_are_told_apart
                                         test_litellm_backend.py::test_a_certificate_that_is_not_trusted_is_said_to_be
N12  a server that dies and comes back   test_clients.py::test_a_server_that_goes_away_and_comes_back_is_waited_for
                                         test_backend.py::test_an_endpoint_that_goes_away_for_twenty_seconds_costs_no_answer
                                         test_backend.py::test_an_endpoint_that_does_not_come_back_is_given_up
N13  401 at once, 401 half-way           faults/test_wire.py::test_a_run_ends_as_promised_whatever_the_wire_does
                                         test_ask.py::test_a_refused_key_stops_the_run_and_keeps_what_is_done
N14  redirects                           faults/test_wire.py::test_N14_T2_a_redirect_ends_the_run_and_the_other_host_hears_nothing
N15  200 that is none                    faults/test_wire.py::test_a_run_ends_as_promised_whatever_the_wire_does
N16  bodies without end, bombs           faults/test_wire.py::test_a_run_ends_as_promised_whatever_the_wire_does
                                         test_litellm_backend.py::test_a_bomb_that_comes_in_one_piece_stays_small
R1   malformed and cut JSON              faults/test_wire.py::test_a_run_ends_as_promised_whatever_the_wire_does
                                         test_clients.py::test_what_is_no_answer_is_an_error_and_not_asked_for_endlessly
R2   nothing said                        faults/test_wire.py::test_a_run_ends_as_promised_whatever_the_wire_does
                                         faults/test_wire.py::test_what_is_no_answer_is_never_kept_as_one
                                         faults/test_wire.py::test_R2_V2_what_is_no_verdict_is_no_vote
R3   cut at the token limit              faults/test_wire.py::test_R3_an_answer_that_was_cut_is_kept_and_flagged
                                         faults/test_wire.py::test_what_is_no_answer_is_never_kept_as_one
                                         test_replies.py::test_a_reply_that_was_cut_off_holds_no_verdict
R4   filtered                            faults/test_wire.py::test_R4_what_a_filter_withholds_goes_to_the_next_tier_without_another_try
R5   doubtful usage                      faults/test_wire.py::test_R5_a_doubtful_usage_is_flagged_and_never_gives_money_back
R6   other numbers of choices            test_clients.py::test_more_choices_than_asked_for_are_cut
                                         test_clients.py::test_a_server_that_returns_fewer_is_asked_one_by_one_from_then_on
R7   escapes, controls, much text        faults/test_wire.py::test_R7_whatever_a_model_says_fits_one_line_and_steers_no_terminal
R8   odd framing                         faults/test_wire.py::test_a_run_ends_as_promised_whatever_the_wire_does
                                         test_clients.py::test_every_framing_is_understood
P1   SIGKILL at eleven points            faults/test_processes.py::test_P1_killed_at_any_point_and_resumed_nothing_is_lost_and_little_paid_again
                                         faults/test_storms.py::test_fifty_kills_at_random_times_lose_nothing_and_pay_again_at_most_what_was_in_flight
                                         faults/test_processes.py::test_P1_a_verification_killed_and_resumed_pays_nothing_twice
P2   SIGKILL again and again             faults/test_processes.py::test_P2_killed_again_and_again_at_random_times_and_resumed_each_time
P3   SIGINT                              test_ask.py::test_a_signal_finishes_the_rows_in_flight
                                         faults/test_processes.py::test_P3_a_second_interrupt_drops_what_is_in_flight_and_the_next_run_goes_on
                                         faults/test_processes.py::test_P3_an_interrupt_ends_a_wait_between_attempts
                                         faults/test_processes.py::test_P3_an_interrupt_while_an_output_is_read_changes_nothing
P4   SIGTERM, SIGHUP                     faults/test_processes.py::test_P4_a_request_to_end_finishes_what_is_in_flight_and_prints_the_way_on
                                         faults/test_processes.py::test_P4_what_the_caller_had_ignored_stays_ignored
P5   closed pipes, full streams          faults/test_processes.py::test_P5_a_closed_pipe_stops_the_spending_and_what_was_paid_is_kept
                                         faults/test_processes.py::test_P5_with_stderr_closed_no_note_lands_in_the_data
                                         faults/test_processes.py::test_P5_with_stdout_closed_nothing_is_asked
                                         faults/test_processes.py::test_P5_a_full_stdout_is_a_storage_error
P6   SIGSTOP and SIGCONT                 faults/test_processes.py::test_P6_a_process_that_was_stopped_longer_than_its_timeouts_goes_on
P7   few file descriptors                faults/test_processes.py::test_P7_too_few_file_descriptors_are_named_and_lose_no_row
P8   two processes on one cache          faults/test_processes.py::test_P8_two_processes_on_one_cache_and_one_input_make_the_calls_of_one
                                         test_cache.py::test_two_processes_on_one_cache_pay_for_each_sample_once
P9   two processes on one output         faults/test_processes.py::test_P9_a_second_process_on_one_output_is_refused_before_any_call
P10  a lease whose holder was killed     test_cache.py::test_the_request_of_a_killed_process_is_taken_over
                                         test_store.py::test_the_lease_of_a_killed_process_is_taken_over_at_once
S1   disk full                           faults/test_storage.py::test_S1_a_full_disk_under_the_cache_stops_the_run_with_place_and_room
                                         faults/test_storage.py::test_S1_a_full_disk_under_the_output_loses_nothing_that_was_paid
S2   cache read-only, or gone            faults/test_storage.py::test_S2_a_cache_that_cannot_be_written_is_found_before_anything_is_asked
                                         test_store.py::test_a_database_that_turned_read_only_fails_at_once
                                         test_store.py::test_a_cache_removed_while_in_use_is_noticed_before_money_is_spent
S3   cache damaged                       faults/test_storage.py::test_S3_a_damaged_cache_is_set_aside_aloud_and_the_next_run_begins_a_new_one
                                         test_store.py::test_flipped_bytes_never_give_a_wrong_completion
S4   entries damaged                     faults/test_storage.py::test_S4_a_damaged_entry_is_said_and_asked_again_and_never_an_answer
                                         test_store.py::test_a_truncated_entry_is_a_miss
S5   a large cache                       test_store.py::test_nothing_is_evicted_beyond_the_size_at_which_diskcache_would
S6   cache on NFS                        not run: needs a network file system
S7   cache locked by another process     test_cache.py::test_a_store_locked_for_good_is_a_storage_error_and_nothing_is_asked
S8   outputs that are not quite ours     test_resume.py::test_finished_rows_are_kept_and_the_others_done_in_order
                                         test_resume.py::test_a_whole_last_line_without_its_end_is_kept
                                         test_resume.py::test_a_line_in_the_middle_that_is_no_row_is_named
                                         test_resume.py::test_rows_of_another_profile_are_refused
                                         test_resume.py::test_rows_of_another_input_are_refused
S9   outputs that cannot be written      faults/test_storage.py::test_S9_an_output_that_cannot_be_written_is_refused_before_the_first_call
I1   encodings and line ends             faults/test_input.py::test_a_file_that_cannot_be_meant_is_refused_unspent
                                         faults/test_input.py::test_I1_byte_order_mark_crlf_blank_lines_and_no_last_line_feed_are_no_fault
I2   long lines                          faults/test_input.py::test_a_bad_row_is_an_error_row_with_its_line_and_under_strict_stops_all
I3   odd characters                      faults/test_input.py::test_I3_I4_any_text_is_one_row_and_comes_back_as_it_was
I4   odd ids                             faults/test_input.py::test_I3_I4_any_text_is_one_row_and_comes_back_as_it_was
                                         faults/test_input.py::test_a_file_that_cannot_be_meant_is_refused_unspent
I5   one question under several ids      test_ask.py::test_equal_questions_are_paid_once_and_the_first_carries_the_spending
I6   JSON that is none                   faults/test_input.py::test_a_bad_row_is_an_error_row_with_its_line_and_under_strict_stops_all
I7   no file, nothing in it              faults/test_input.py::test_I7_an_input_that_is_no_file_is_named
                                         test_ask.py::test_no_rows_are_no_error
I8   no words, too many                  faults/test_input.py::test_a_bad_row_is_an_error_row_with_its_line_and_under_strict_stops_all
                                         test_cascade.py::test_votes_that_do_not_fit_the_window_are_no_evidence
I9   input edited before resuming        test_resume.py::test_rows_whose_input_changed_are_done_again
C1   YAML                                test_profile.py::test_a_file_that_is_not_one_small_plain_document_is_refused_where_it_goes_wrong
                                         test_profile.py::test_a_mistake_is_told_with_its_line_and_key_path
C2   options, tiers, limits              faults/test_input.py::test_an_option_that_cannot_be_meant_is_refused_unspent
                                         test_profile.py::test_a_mistake_is_told_with_its_line_and_key_path
C3   a profile that was only found       faults/test_threats.py::test_T1_C3_a_found_profile_sends_no_key_and_no_question_to_a_host_of_its_own
C4   routers that do not fit             faults/test_input.py::test_C4_a_damaged_router_block_is_refused_unspent
                                         test_calibrate.py::test_a_router_fitted_on_other_tiers_is_refused
M1   too little to learn from            faults/test_input.py::test_data_that_cannot_be_used_are_refused_with_file_and_line
                                         test_calibrate.py::test_too_few_rows_to_hold_any_out_give_an_unproven_router
M2   scores that are none                faults/test_input.py::test_data_that_cannot_be_used_are_refused_with_file_and_line
M3   a tier missing on some rows         faults/test_input.py::test_data_that_cannot_be_used_are_refused_with_file_and_line
                                         test_traces.py::test_rows_that_do_not_score_every_tier_are_counted_and_dropped_only_when_told
M4   the same again                      test_calibrate.py::test_the_same_rows_and_seed_give_the_same_calibration
M5   votes that were never seen          test_replies.py::test_a_reply_without_a_readable_verdict_gives_no_confidence
                                         test_cascade.py::test_a_verification_that_is_refused_is_no_evidence_and_escalates
M6   odd costs                           faults/test_input.py::test_data_that_cannot_be_used_are_refused_with_file_and_line
                                         test_families.py::test_the_path_of_tiers_that_cost_the_same_weighs_votes_and_of_free_ones_nothing
M7   the same rows on both sides         test_duplicates.py::*
V1   an echo judge                       test_replies.py::test_no_answer_that_a_judge_quotes_before_it_says_incorrect_is_accepted
V2   replies that are no verdict         test_replies.py::test_a_reply_is_read_by_its_last_line_alone
                                         faults/test_wire.py::test_R2_V2_what_is_no_verdict_is_no_vote
V3   a context that says so              test_messages.py::test_nothing_in_an_answer_or_context_reaches_beyond_its_fence
V4   k samples of one prompt             test_cache.py::test_going_from_four_samples_to_eight_pays_for_four
B1   a cap, at any concurrency           faults/test_storms.py::test_B1_B3_no_budget_is_ever_exceeded_at_any_concurrency_over_two_hundred_seeds
                                         faults/test_threats.py::test_B1_the_cap_holds_on_the_wire_and_more_money_goes_on_where_it_stopped
                                         faults/test_threats.py::test_B1_at_the_cap_the_cheapest_tier_answers_unverified_when_told_to
B2   no price                            faults/test_threats.py::test_B2_a_budget_without_a_price_is_refused
                                         test_profile_model.py::test_a_found_price_of_zero_is_unknown_to_a_budget_where_the_table_knows_nothing
B3   attempts that may be billed         faults/test_threats.py::test_B3_attempts_that_may_be_billed_count_against_the_cap
B4   a finished job                      faults/test_threats.py::test_B4_a_finished_job_runs_again_without_a_request
B5   commands that only look             faults/test_threats.py::test_B5_what_only_looks_opens_no_socket_and_loads_no_litellm
E1   environments                        faults/test_threats.py::test_E1_odd_environments_change_no_answer
                                         faults/test_threats.py::test_E1_variables_that_would_redirect_are_said_and_ignored
                                         faults/test_threats.py::test_E1_a_proxy_of_the_environment_does_not_see_a_local_server
                                         faults/test_threats.py::test_E1_without_a_writable_home_the_way_out_is_named
T1   a host of their own                 faults/test_threats.py::test_T1_C3_a_found_profile_sends_no_key_and_no_question_to_a_host_of_its_own
                                         test_litellm_backend.py::test_an_address_gets_the_key_that_was_named_for_it_and_no_other
T2   redirects                           faults/test_wire.py::test_N14_T2_a_redirect_ends_the_run_and_the_other_host_hears_nothing
                                         test_clients.py::test_no_redirect_is_followed
T3   `.env`                              faults/test_threats.py::test_T3_no_env_file_is_read
T4   keys in messages and files          faults/test_threats.py::test_T4_a_server_that_repeats_the_key_gets_it_into_no_file_and_no_message
                                         faults/test_threats.py::test_T4_a_completion_that_repeats_the_key_is_masked_before_it_is_kept
                                         faults/test_threats.py::test_the_watch_for_the_key_finds_one
T5   planted caches                      test_store.py::test_a_pickled_value_is_a_miss_and_is_not_loaded
                                         test_store.py::test_a_pickled_key_is_not_loaded
                                         test_store.py::test_a_file_that_a_row_names_is_neither_read_nor_deleted
T6   code in profiles                    test_profile.py::test_a_file_that_is_not_one_small_plain_document_is_refused_where_it_goes_wrong
T7   paths                               test_profile.py::test_a_found_file_reaches_nothing_outside_its_folder
                                         faults/test_storage.py::test_S9_an_output_that_cannot_be_written_is_refused_before_the_first_call
T8   money                               test_profile.py::test_a_found_file_may_not_redirect_keys_or_prompts_nor_raise_limits
                                         test_profile_model.py::test_a_budget_counts_a_found_price_never_below_the_table
T9   questions that always escalate      test_health.py::*
T10  answers that claim a verdict        test_messages.py::test_no_text_that_a_verifier_quotes_changes_which_line_is_its_verdict
T11  terminals                           faults/test_wire.py::test_R7_whatever_a_model_says_fits_one_line_and_steers_no_terminal
                                         test_profile.py::test_what_a_file_says_cannot_steer_the_terminal
T12  bombs                               test_profile.py::test_a_file_that_is_not_one_small_plain_document_is_refused_where_it_goes_wrong
                                         faults/test_input.py::test_a_bad_row_is_an_error_row_with_its_line_and_under_strict_stops_all
T13  cache entries                       test_cache.py::test_changing_anything_that_changes_the_text_is_a_miss
                                         test_store.py::test_a_flipped_bit_anywhere_in_an_entry_is_a_counted_miss
T14  trust                               not run: there is no list of trusted files; a found profile is never trusted (T1)
T15  planted profiles                    test_profile_search.py::test_outside_a_repository_and_outside_home_only_this_folder_is_searched
                                         test_profile.py::test_a_found_file_that_others_could_have_written_is_not_used
T16  supply chain                        not run: the malicious releases of LiteLLM are outside the range in pyproject.toml
T17  privacy                             faults/test_threats.py::test_T17_outputs_and_cache_are_readable_by_their_owner_alone
A1   votes beyond the profile's limit    faults/test_attacks.py::test_A1_a_router_that_buys_more_votes_than_the_profile_allows_is_refused
                                         faults/test_attacks.py::test_A1_a_dry_run_counts_the_votes_of_the_policy_itself
                                         faults/test_attacks.py::test_A1_a_dry_run_refuses_the_routers_that_ask_refuses
A2   bills above the reserve             faults/test_attacks.py::test_A2_a_bill_above_its_reserve_is_counted_in_full_and_shuts_the_budget
                                         faults/test_attacks.py::test_A2_a_bill_above_its_reserve_reserves_more_of_that_endpoint_from_then_on
                                         faults/test_attacks.py::test_A2_counts_beyond_what_was_sent_and_allowed_are_doubtful_and_stand
A3   a quoted answer after "incorrect"   test_replies.py::test_A3_an_answer_that_a_judge_quotes_after_it_said_incorrect_is_not_accepted
A4   a cache that fails half-way         faults/test_attacks.py::test_A4_a_cache_disk_that_fills_up_in_a_batch_is_one_message
                                         faults/test_attacks.py::test_A4_a_corrupted_page_met_in_a_batch_is_one_message
A5   tier names in traces                faults/test_attacks.py::test_A5_a_tier_name_that_no_profile_could_hold_is_refused_in_a_trace_file
                                         faults/test_attacks.py::test_A5_whatever_a_name_may_hold_leaves_every_file_well_formed
A6   headers from variables              faults/test_attacks.py::test_A6_an_account_at_openai_is_shown_to_no_other_host
                                         faults/test_attacks.py::test_A6_openai_itself_is_shown_the_account_it_belongs_to
A7   a clock set back                    faults/test_attacks.py::test_A7_refresh_refreshes_after_the_clock_was_set_back
A8   invisible answers                   faults/test_attacks.py::test_A8_an_answer_that_shows_nothing_is_no_text
A9   models that carry a host            faults/test_attacks.py::test_A9_a_found_profile_names_no_host_in_a_model
                                         faults/test_attacks.py::test_A9_every_model_of_the_price_table_can_be_named_in_a_found_profile
A10  SIGTERM without a cache             faults/test_attacks.py::test_A10_a_request_to_end_leaves_no_temporary_folder
A11  clear without a terminal            faults/test_attacks.py::test_A11_nothing_is_cleared_without_a_terminal_unless_told_to
A12  wordings of real servers            test_wordings.py::test_a_refusal_is_understood_by_its_words
                                         faults/test_attacks.py::test_A12_every_wording_that_was_met_is_understood_over_the_wire
                                         faults/test_attacks.py::test_A12_a_tier_without_an_answer_escalates_and_what_it_cost_is_paid_once
                                         faults/test_attacks.py::test_A12_a_vote_without_an_answer_ends_the_verification
                                         faults/test_attacks.py::test_A12_what_is_no_answer_is_an_outcome_where_every_tier_is_asked
                                         faults/test_attacks.py::test_A12_what_would_refuse_every_row_costs_one_request_and_can_be_resumed
                                         faults/test_attacks.py::test_A12_each_kind_of_trouble_says_once_what_mends_it
A13  an endpoint that comes back late    faults/test_attacks.py::test_A13_an_endpoint_that_was_given_up_recovers_in_a_process_that_goes_on
                                         test_backend.py::test_a_key_that_was_mended_works_in_a_process_that_goes_on
A14  questions that are copies           test_partition.py::test_random_splits_keep_all_rows_of_a_question_on_one_side
                                         test_bootstrap.py::test_copies_do_not_narrow_an_interval
                                         test_certificate.py::test_copies_do_not_prove_what_their_questions_alone_do_not
"""  # noqa: E501 (a table)

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
SIZES = {"N": 16, "R": 8, "P": 10, "S": 9, "I": 9, "C": 4, "M": 7, "V": 4, "B": 5, "E": 1, "T": 17, "A": 14}
ALL = [f"{kind}{n}" for kind, size in SIZES.items() for n in range(1, size + 1)]


def table() -> dict[str, list[str]]:
    """Row id → what stands beside it."""
    found: dict[str, list[str]] = {}
    row = ""
    for line in (__doc__ or "").splitlines():
        named = re.match(r"([A-Z]\d+)  ", line)
        row = named[1] if named else row
        held = re.search(r"(\S+\.py::\S+|not run: .+)$", line)
        if held:
            found.setdefault(row, []).append(held[1])
    return found


@cache
def names_in(path: Path) -> frozenset[str]:
    """The names of the test functions of a file."""
    tree = ast.parse(path.read_text("utf-8"))
    return frozenset(
        n.name for n in tree.body if isinstance(n, ast.FunctionDef) and n.name.startswith("test_")
    )


def test_every_row_of_the_matrix_is_held_by_a_test_or_says_why_not() -> None:
    assert list(table()) == ALL


@pytest.mark.parametrize("row", ALL)
def test_the_tests_that_hold_a_row_exist(row: str) -> None:
    for held in table()[row]:
        if not held.startswith("not run: "):
            name, _, test = held.partition("::")
            (path,) = TESTS.rglob(name)
            assert names_in(path) if test == "*" else {test} & names_in(path), held


def test_a_row_that_a_table_of_cases_holds_has_a_case_there() -> None:
    from test_input import BAD_ROWS, DATA, OPTIONS, REFUSED
    from test_wire import CASES

    cases = {name.split("-")[0] for names in (CASES, BAD_ROWS, REFUSED, OPTIONS, DATA) for name in names}
    by_table = {"test_a_run_ends_as", "test_a_bad_row_is", "test_an_option_that", "test_data_that"}
    for row, held in table().items():
        if any(
            f"faults/{file}::{start}" in one
            for file in ("test_wire.py", "test_input.py")
            for start in by_table
            for one in held
        ):
            assert row in cases or row == "T12", row


def test_every_crash_point_names_a_method_that_exists() -> None:
    from importlib import import_module

    from trouble import POINTS

    for where, name, _ in POINTS.values():
        module, _, owner = where.partition(":")
        assert callable(getattr(getattr(import_module(module), owner), name)), (where, name)
