# mcu_export_add_model(NAME MODEL file SAMPLES file.npz[:KEY] [OUTPUT folder] [OPTIONS option...])
#
# A static library NAME with the C of a network, exported again when the network, its samples, the
# options or mcu-export itself change:
#
#   find_package(mcu-export REQUIRED) # -Dmcu-export_DIR=$(mcu-export makefile --cmake)
#   mcu_export_add_model(net MODEL net.keras SAMPLES calibration.npz OPTIONS --scheme q15)
#   target_link_libraries(firmware PRIVATE net)
#
# MCU_EXPORT names the tool, if it is not in the PATH.
cmake_minimum_required(VERSION 3.20)

find_program(MCU_EXPORT mcu-export REQUIRED)

function(mcu_export_add_model name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "MODEL;SAMPLES;OUTPUT" "OPTIONS")
  if(NOT arg_MODEL)
    message(FATAL_ERROR "mcu_export_add_model(${name}): MODEL is missing")
  endif()
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "mcu_export_add_model(${name}): unknown: ${arg_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT arg_OUTPUT)
    set(arg_OUTPUT "${CMAKE_CURRENT_BINARY_DIR}/${name}.export")
  endif()
  get_filename_component(model "${arg_MODEL}" ABSOLUTE)
  set(command "${MCU_EXPORT}" export "${model}" -o "${arg_OUTPUT}" --name ${name} ${arg_OPTIONS})
  if(arg_SAMPLES)
    get_filename_component(samples "${arg_SAMPLES}" ABSOLUTE)
    list(APPEND command --samples "${samples}")
  endif()

  # The files keep their times where nothing changed; the stamp says that they are up to date.
  set(stamp "${CMAKE_CURRENT_BINARY_DIR}/${name}.stamp")
  set(files "")
  foreach(end .c .h _weights.h _test.h _reference.npz .json)
    list(APPEND files "${arg_OUTPUT}/${name}${end}")
  endforeach()
  add_custom_command(
    OUTPUT "${stamp}"
    BYPRODUCTS ${files}
    COMMAND ${command} --depfile "${stamp}.d" --depfile-target "${stamp}"
    COMMAND "${CMAKE_COMMAND}" -E touch "${stamp}"
    DEPENDS "${model}"
    DEPFILE "${stamp}.d"
    WORKING_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}"
    COMMENT "Exporting ${name}"
    VERBATIM)
  add_custom_target(${name}_export DEPENDS "${stamp}")

  add_library(${name} STATIC "${arg_OUTPUT}/${name}.c")
  add_dependencies(${name} ${name}_export)
  target_include_directories(${name} PUBLIC "${arg_OUTPUT}")
  target_compile_features(${name} PUBLIC c_std_99)
endfunction()
