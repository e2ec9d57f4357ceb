# Compares cli/expected_admission.json with what the program reads out of the rendered chart. Names that an installation
# chooses are marks here; the program makes placeholders of them.
execute_process(
  COMMAND ${HELM} template palisade ${CHART} --namespace palisade-ns-placeholder -s templates/admission.yaml -s templates/self-guard.yaml
          --set-json "webhook.exemptNamespaces=[\"@exempt\"]" --set-json "webhook.schedulers=[\"@schedulers\"]"
          --set-json "webhook.administrators={\"users\": [\"@users\"], \"groups\": [\"@groups\"]}"
  OUTPUT_FILE ${WORK}/rendered_admission.yaml ERROR_VARIABLE said RESULT_VARIABLE status)
if(NOT status EQUAL 0)
  message(FATAL_ERROR "helm template: ${status} ${said}")
endif()
execute_process(COMMAND ${PROGRAM} doctor --expectation-of ${WORK}/rendered_admission.yaml
  OUTPUT_VARIABLE expected RESULT_VARIABLE status)
if(NOT status EQUAL 0)
  message(FATAL_ERROR "palisade doctor --expectation-of: ${status}")
endif()
file(READ ${WRITTEN} written)
if(NOT expected STREQUAL written)
  message(FATAL_ERROR "cli/expected_admission.json is not what the chart installs. Write it anew, look at the difference, and build:\n"
                      "  ${PROGRAM} doctor --expectation-of ${WORK}/rendered_admission.yaml > ${WRITTEN}")
endif()
