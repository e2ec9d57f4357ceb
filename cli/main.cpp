#include <exception>
#include <iostream>
#include <string>
#include <vector>

#include <cli/cli.h>

int main(int argc, char** argv) {
  try {
    std::vector<std::string> arguments(argv + (argc > 0 ? 1 : 0), argv + argc);
    const int status = palisade::cli::run(std::move(arguments), std::cin, std::cout, std::cerr);
    std::cout.flush();
    if (!std::cout) {
      std::cerr << "palisade: cannot write to standard output\n";
      return palisade::cli::kUnreadable;
    }
    return status;
  } catch (const std::exception& error) {
    std::cerr << "palisade: internal error: " << error.what() << '\n';
    return palisade::cli::kUnreadable;
  }
}
