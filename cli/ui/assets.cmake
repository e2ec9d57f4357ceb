# The page of `palisade ui` becomes a header. Semicolons are kept: file(READ) makes a text of it, and configure_file puts it in as it is.
foreach(part PAGE:page.html SCRIPT:app.js STYLE:style.css)
  string(REPLACE ":" ";" part ${part})
  list(GET part 0 name)
  list(GET part 1 file)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/ui/${file})
  file(READ ui/${file} UI_${name})
endforeach()
configure_file(ui/ui_assets.h.in generated/ui_assets.h @ONLY)
