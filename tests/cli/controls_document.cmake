# Compares docs/controls.md with what the program prints.
execute_process(COMMAND ${PROGRAM} controls -o markdown OUTPUT_VARIABLE printed RESULT_VARIABLE status)
if(NOT status EQUAL 0)
  message(FATAL_ERROR "palisade controls -o markdown: ${status}")
endif()
file(READ ${DOCUMENT} written)
if(NOT printed STREQUAL written)
  message(FATAL_ERROR "docs/controls.md differs from the control table. Write it anew:\n"
                      "  ${PROGRAM} controls -o markdown > docs/controls.md")
endif()
