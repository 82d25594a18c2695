/* Starts a program in its console, waits for the program's first line, sends Ctrl-C to all programs of the
 * console, and ends with the exit status of the program, or with 99 where that was not possible. */
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <stdio.h>
#include <string.h>

static BOOL WINAPI ignore(DWORD event) {
  (void)event;
  return TRUE;
}

int main(int count, char **arguments) {
  char line[4096] = "", byte = 0;
  STARTUPINFOA how = {.cb = sizeof how};
  PROCESS_INFORMATION child;
  SECURITY_ATTRIBUTES inherited = {sizeof inherited, NULL, TRUE};
  HANDLE end, output;
  DWORD length = 0, status = 99;
  for (int n = 1; n < count; n++) strcat(strcat(line, n == 1 ? "" : " "), arguments[n]);

  SetConsoleCtrlHandler(ignore, TRUE);
  if (!CreatePipe(&end, &output, &inherited, 0)) return 99;
  SetHandleInformation(end, HANDLE_FLAG_INHERIT, 0);
  how.dwFlags = STARTF_USESTDHANDLES;
  how.hStdInput = GetStdHandle(STD_INPUT_HANDLE);
  how.hStdOutput = output;
  how.hStdError = GetStdHandle(STD_ERROR_HANDLE);
  if (!CreateProcessA(NULL, line, NULL, NULL, TRUE, 0, NULL, NULL, &how, &child)) return 99;
  CloseHandle(output);

  while (byte != '\n' && ReadFile(end, &byte, 1, &length, NULL) && length == 1) putchar(byte);
  if (byte != '\n' || !GenerateConsoleCtrlEvent(CTRL_C_EVENT, 0) ||
      WaitForSingleObject(child.hProcess, 60000) != WAIT_OBJECT_0) {
    TerminateProcess(child.hProcess, 99);
  }
  GetExitCodeProcess(child.hProcess, &status);
  return (int)status;
}
